// check store, salvage store: the files of a store whose process does not run.
//
// They read the files themselves, and ask no service: the process that has them may not
// be able to start.
#include <ostream>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"
#include "services/common/log/json.h"
#include "services/common/status/status.h"
#include "services/common/store/rocks/store_check.h"
#include "services/directory/stored_rows.h"
#include "tools/posthousectl/command.h"
#include "tools/posthousectl/context.h"
#include "tools/posthousectl/output.h"

namespace posthouse::ctl {
namespace {

void Print(Context& context, absl::string_view kind, const std::vector<store::LostRange>& ranges) {
  for (const store::LostRange& range : ranges) {
    if (context.json) {
      std::string what, error;
      log::AppendJsonString(range.what, 8192, &what);
      log::AppendJsonString(range.error, 8192, &error);
      context.out << "{\"" << kind << "\":" << what << ",\"error\":" << error << "}\n";
    } else {
      context.out << kind << ": " << Printable(range.what) << "\n      (" << Printable(range.error) << ")\n";
    }
  }
}

void Print(Context& context, const store::StoreCheck& check) {
  Print(context, "lost", check.lost);
  Print(context, "older", check.older);
  Print(context, "malformed", check.malformed);
  if (context.json) {
    context.out << "{\"rows\":" << check.rows << ",\"bodies\":" << check.bodies << "}\n";
  } else {
    context.out << check.rows << " rows and " << check.bodies << " parts of bodies are readable\n";
  }
}

absl::Status Check(Context& context) {
  PH_ASSIGN_OR_RETURN(const store::StoreCheck check, store::CheckStore(context.Operand(), directory::CheckStoredRow));
  Print(context, check);
  if (check.lost.empty() && check.malformed.empty()) return absl::OkStatus();
  if (check.lost.empty()) {
    return absl::DataLossError(absl::StrCat(check.malformed.size(),
                                            " rows do not parse; the service goes on without them, and its README says "
                                            "how to write them anew"));
  }
  return absl::DataLossError(absl::StrCat(check.lost.size(),
                                          " ranges of rows cannot be read; 'posthousectl salvage store ",
                                          context.Operand(), "' keeps the others"));
}

absl::Status Salvage(Context& context) {
  PH_ASSIGN_OR_RETURN(const store::StoreCheck check, store::SalvageStore(context.Operand()));
  Print(context, check);
  if (!context.json) {
    context.out << (check.lost.empty() ? std::string("nothing is lost; the store is unchanged")
                                       : absl::StrCat("the damaged files are in ", check.kept_at))
                << "\n";
  }
  return absl::OkStatus();
}

}  // namespace

Noun CheckCommands() {
  return {"check",
          "the files of a process that does not run",
          {{{"check store",
             {{"DIRECTORY"}},
             "Read a whole store and name the rows that cannot be read, and records of a directory that do not parse",
             {},
             {"posthousectl check store /var/lib/posthouse/mailbox"}},
            Check}}};
}

Noun SalvageCommands() {
  return {
      "salvage",
      "what can be read of damaged files",
      {{{"salvage store",
         {{"DIRECTORY"}},
         "Keep the readable rows of a damaged store, also older states of lost ones; the damaged files stay beside it",
         {},
         {"posthousectl salvage store /var/lib/posthouse/mailbox"}},
        Salvage}}};
}

}  // namespace posthouse::ctl
