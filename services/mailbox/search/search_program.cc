#include "services/mailbox/search/search_program.h"

#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/strip.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/mailbox/rows/cache_rows.h"
#include "services/mailbox/rows/key_schema.h"

namespace posthouse::mailbox {
namespace {

constexpr size_t kMaxKeys = 10000;
constexpr size_t kMaxTexts = 250;  // each is looked for in every byte of every body
constexpr int kMaxDepth = 100;
constexpr int64_t kDay = 86400;

int64_t FloorDay(int64_t seconds) { return seconds >= 0 ? seconds / kDay : -((-seconds + kDay - 1) / kDay); }

Verdict Is(bool value) { return value ? Verdict::kYes : Verdict::kNo; }

// True when an address list may show other text than it has: comments, quotes, folds, blanks at "@".
bool HidesAddresses(absl::string_view raw_value) {
  return raw_value.find_first_of("(\"\\") != absl::string_view::npos || absl::StrContains(raw_value, "\n ") ||
         absl::StrContains(raw_value, "\n\t") || absl::StrContains(raw_value, "@ ") ||
         absl::StrContains(raw_value, " @");
}

bool HasBit(absl::string_view bits, int number) {
  return number >= 0 && static_cast<size_t>(number) / 8 < bits.size() &&
         (static_cast<unsigned char>(bits[static_cast<size_t>(number) / 8]) >> (number % 8) & 1) != 0;
}

}  // namespace

struct SearchProgram::Node {
  int kind = 0;  // v1::SearchKey::Kind
  std::vector<std::unique_ptr<Node>> children;
  UidSet uids;
  uint32_t flag = 0;
  int keyword = -1;  // bit number; -1: no message has it
  std::string field;
  std::string text;  // folded for headers, as sent for ids
  bool addresses = false;
  size_t term = 0;
  int64_t number = 0;
};

SearchProgram::SearchProgram() = default;
SearchProgram::~SearchProgram() = default;
SearchProgram::SearchProgram(SearchProgram&&) noexcept = default;
SearchProgram& SearchProgram::operator=(SearchProgram&&) noexcept = default;

absl::StatusOr<SearchProgram> SearchProgram::Compile(const v1::SearchKey& key, const std::vector<std::string>& keywords,
                                                     int64_t now_seconds) {
  SearchProgram program;
  PH_ASSIGN_OR_RETURN(program.root_, program.Build(key, keywords, now_seconds, 0));
  return program;
}

absl::StatusOr<std::unique_ptr<SearchProgram::Node>> SearchProgram::Build(const v1::SearchKey& key,
                                                                          const std::vector<std::string>& keywords,
                                                                          int64_t now_seconds, int depth) {
  if (++keys_ > kMaxKeys || depth > kMaxDepth) return absl::InvalidArgumentError("search program too large");
  auto node = std::make_unique<Node>();
  node->kind = key.kind();
  node->number = key.number();
  switch (key.kind()) {
    case v1::SearchKey::KIND_NOT:
      if (key.keys_size() != 1) return absl::InvalidArgumentError("NOT takes one key");
      [[fallthrough]];
    case v1::SearchKey::KIND_AND:
    case v1::SearchKey::KIND_OR:
      for (const v1::SearchKey& child : key.keys()) {
        PH_ASSIGN_OR_RETURN(std::unique_ptr<Node> built, Build(child, keywords, now_seconds, depth + 1));
        node->children.push_back(std::move(built));
      }
      break;
    case v1::SearchKey::KIND_UIDS:
      node->uids = UidSetFromProto(key.uids());
      break;
    case v1::SearchKey::KIND_FLAG:
      node->flag = key.flag();
      break;
    case v1::SearchKey::KIND_KEYWORD:
      for (size_t i = 0; i < keywords.size(); ++i) {
        if (absl::EqualsIgnoreCase(keywords[i], key.text())) node->keyword = static_cast<int>(i);
      }
      break;
    case v1::SearchKey::KIND_HEADER:
      node->field = key.field();
      node->text = message::FoldCase(key.text());
      node->addresses = key.addresses();
      needs_header_ = true;
      needs_whole_header_ |= !IsCachedField(key.field());
      break;
    case v1::SearchKey::KIND_BODY:
    case v1::SearchKey::KIND_TEXT:
      if (terms_.size() == kMaxTexts) return absl::InvalidArgumentError("too many texts in one search");
      node->term = terms_.size();
      terms_.push_back({key.text(), key.kind() == v1::SearchKey::KIND_BODY ? message::MessageSearch::Where::kBody
                                                                           : message::MessageSearch::Where::kText});
      break;
    case v1::SearchKey::KIND_SENT_BEFORE:
    case v1::SearchKey::KIND_SENT_ON:
    case v1::SearchKey::KIND_SENT_SINCE:
      needs_header_ = true;
      break;
    case v1::SearchKey::KIND_OLDER:
    case v1::SearchKey::KIND_YOUNGER:
      node->number = now_seconds - key.number();
      break;
    case v1::SearchKey::KIND_MODSEQ:
      uses_modseq_ = true;
      break;
    case v1::SearchKey::KIND_SAVED_BEFORE:
    case v1::SearchKey::KIND_SAVED_ON:
    case v1::SearchKey::KIND_SAVED_SINCE:
    case v1::SearchKey::KIND_EMAIL_ID:
    case v1::SearchKey::KIND_THREAD_ID:
      node->text = key.text();
      needs_row_ = true;
      break;
    case v1::SearchKey::KIND_ALL:
    case v1::SearchKey::KIND_BEFORE:
    case v1::SearchKey::KIND_ON:
    case v1::SearchKey::KIND_SINCE:
    case v1::SearchKey::KIND_LARGER:
    case v1::SearchKey::KIND_SMALLER:
      break;
    default:
      return absl::InvalidArgumentError(absl::StrCat("search key ", static_cast<int>(key.kind()), " is not known"));
  }
  return node;
}

Verdict SearchProgram::Evaluate(const SearchFacts& facts) const { return Evaluate(*root_, facts); }

Verdict SearchProgram::Evaluate(const Node& node, const SearchFacts& facts) const {
  const MessageMeta& m = *facts.meta;
  const auto day = [&] { return FloorDay(m.internal_date + int64_t{m.zone} * 60); };
  const auto sent = [&](auto compare) {
    if (!facts.have_header) return Verdict::kUnknown;
    return Is(facts.sent_day.has_value() && compare(*facts.sent_day));
  };
  const auto row = [&](auto compare) { return facts.have_row ? Is(compare()) : Verdict::kUnknown; };
  switch (node.kind) {
    case v1::SearchKey::KIND_ALL:
      return Verdict::kYes;
    case v1::SearchKey::KIND_AND: {
      Verdict out = Verdict::kYes;
      for (const auto& child : node.children) {
        const Verdict v = Evaluate(*child, facts);
        if (v == Verdict::kNo) return v;
        if (v == Verdict::kUnknown) out = v;
      }
      return out;
    }
    case v1::SearchKey::KIND_OR: {
      Verdict out = Verdict::kNo;
      for (const auto& child : node.children) {
        const Verdict v = Evaluate(*child, facts);
        if (v == Verdict::kYes) return v;
        if (v == Verdict::kUnknown) out = v;
      }
      return out;
    }
    case v1::SearchKey::KIND_NOT: {
      const Verdict v = Evaluate(*node.children[0], facts);
      return v == Verdict::kUnknown ? v : Is(v == Verdict::kNo);
    }
    case v1::SearchKey::KIND_UIDS:
      return Is(node.uids.Contains(m.uid));
    case v1::SearchKey::KIND_FLAG:
      return Is((m.flags & node.flag) == node.flag);
    case v1::SearchKey::KIND_KEYWORD:
      return Is(HasBit(facts.keyword_bits, node.keyword));
    case v1::SearchKey::KIND_HEADER: {
      if (!facts.have_header) return Verdict::kUnknown;
      bool found = false;
      ForEachField(facts.header, [&](absl::string_view name, absl::string_view value) {
        if (!absl::EqualsIgnoreCase(name, node.field)) return true;
        found = message::FieldContains(value, node.text) ||
                (node.addresses && HidesAddresses(value) && message::AddressesContain(value, node.text));
        return !found;
      });
      return Is(found);
    }
    case v1::SearchKey::KIND_BODY:
    case v1::SearchKey::KIND_TEXT:
      return facts.texts == nullptr ? Verdict::kUnknown : Is((*facts.texts)[node.term]);
    case v1::SearchKey::KIND_BEFORE:
      return Is(day() < node.number);
    case v1::SearchKey::KIND_ON:
      return Is(day() == node.number);
    case v1::SearchKey::KIND_SINCE:
      return Is(day() >= node.number);
    case v1::SearchKey::KIND_SENT_BEFORE:
      return sent([&](int64_t d) { return d < node.number; });
    case v1::SearchKey::KIND_SENT_ON:
      return sent([&](int64_t d) { return d == node.number; });
    case v1::SearchKey::KIND_SENT_SINCE:
      return sent([&](int64_t d) { return d >= node.number; });
    case v1::SearchKey::KIND_LARGER:
      return Is(static_cast<int64_t>(m.size_bytes) > node.number);
    case v1::SearchKey::KIND_SMALLER:
      return Is(static_cast<int64_t>(m.size_bytes) < node.number);
    case v1::SearchKey::KIND_MODSEQ:
      return Is(m.modseq.value() >= static_cast<uint64_t>(node.number));
    case v1::SearchKey::KIND_OLDER:
      return Is(m.internal_date <= node.number);
    case v1::SearchKey::KIND_YOUNGER:
      return Is(m.internal_date >= node.number);
    case v1::SearchKey::KIND_SAVED_BEFORE:
      return row([&] { return FloorDay(facts.save_date) < node.number; });
    case v1::SearchKey::KIND_SAVED_ON:
      return row([&] { return FloorDay(facts.save_date) == node.number; });
    case v1::SearchKey::KIND_SAVED_SINCE:
      return row([&] { return FloorDay(facts.save_date) >= node.number; });
    case v1::SearchKey::KIND_EMAIL_ID:
      return row([&] { return node.text == absl::StrCat("M", facts.blob.Hex()); });
    case v1::SearchKey::KIND_THREAD_ID:
      return row([&] { return !node.text.empty() && facts.thread_id == node.text; });
    default:
      return Verdict::kNo;
  }
}

void ForEachField(absl::string_view header,
                  absl::FunctionRef<bool(absl::string_view name, absl::string_view raw_value)> field) {
  while (!header.empty()) {
    // A field goes on while the next line starts with a blank (RFC 5322 §2.2.3).
    size_t end = 0;
    do {
      const size_t lf = header.find('\n', end);
      end = lf == absl::string_view::npos ? header.size() : lf + 1;
    } while (end < header.size() && (header[end] == ' ' || header[end] == '\t'));
    const absl::string_view line = header.substr(0, end);
    header.remove_prefix(end);
    if (line == "\r\n" || line == "\n") return;
    const size_t colon = line.find(':');
    if (colon == absl::string_view::npos) continue;
    absl::string_view name = line.substr(0, colon);
    while (!name.empty() && (name.back() == ' ' || name.back() == '\t')) name.remove_suffix(1);
    if (!field(name, line.substr(colon + 1))) return;
  }
}

}  // namespace posthouse::mailbox
