// posthouse: all programs of Posthouse in one executable (docs/adr/0014-one-executable.md).
#include <iostream>
#include <memory>

#include "absl/status/statusor.h"
#include "services/common/cli/cli.h"
#include "services/common/runtime/runtime.h"
#include "services/common/runtime/service_app.h"
#include "services/directory/app.h"
#include "services/gateway/app.h"
#include "services/ingress/app.h"
#include "services/mailbox/app.h"
#include "services/posthouse/programs.h"
#include "services/probe/run.h"
#include "services/queue/app.h"
#include "services/routing/app.h"
#include "services/standalone/app.h"
#include "tools/posthousectl/run.h"

namespace {

using posthouse::runtime::ServiceMain;

int Standalone(int argc, char** argv) {
  using posthouse::standalone::App;
  const auto make = [](posthouse::runtime::Runtime& rt) -> absl::StatusOr<std::unique_ptr<posthouse::runtime::App>> {
    return App::Create(rt);
  };
  return posthouse::runtime::Main(argc, argv, "standalone", make, App::CheckConfig);
}

int Ctl(int argc, char** argv) {
  return posthouse::ctl::Run({argv + 1, argv + argc}, posthouse::cli::ProcessEnvironment, std::cin, std::cout,
                             std::cerr);
}

}  // namespace

int main(int argc, char** argv) {
  using namespace posthouse;
  static const std::vector<programs::Program> all = {
      {"standalone", "posthouse-standalone", "all services in one process", Standalone},
      {"ingress", "posthouse-ingress", "receives SMTP: mail from other hosts, and from users",
       [](int c, char** v) { return ServiceMain<ingress::App>(c, v, "ingress"); }},
      {"routing", "posthouse-routing", "finds the mailboxes of an address, and the hosts of a domain",
       [](int c, char** v) { return ServiceMain<routing::App>(c, v, "routing"); }},
      {"directory", "posthouse-directory", "keeps tenants, domains, accounts and aliases",
       [](int c, char** v) { return ServiceMain<directory::App>(c, v, "directory"); }},
      {"queue", "posthouse-queue", "keeps messages until they are delivered",
       [](int c, char** v) { return ServiceMain<queue::App>(c, v, "queue"); }},
      {"mailbox", "posthouse-mailbox", "keeps folders and messages",
       [](int c, char** v) { return ServiceMain<mailbox::App>(c, v, "mailbox"); }},
      {"gateway", "posthouse-gateway", "serves IMAP and POP3",
       [](int c, char** v) { return ServiceMain<gateway::App>(c, v, "gateway"); }},
      {"probe", "posthouse-probe", "sends a message through a running system and reads it back", probe::Main},
      {"ctl", "posthousectl", "administers the services", Ctl},
  };
  return programs::Run(argc, argv, all, std::cout, std::cerr);
}
