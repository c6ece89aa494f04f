#include "services/gateway/pop3/machine.h"

#include <algorithm>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/strip.h"

namespace posthouse::gateway::pop3 {
namespace {

constexpr size_t kMaxCommandLine = 255;     // RFC 2449 §4
constexpr size_t kMaxAuthLine = 12 * 1024;  // RFC 5034 §4

Step Reply(std::string text) {
  Step step;
  step.reply = std::move(text);
  return step;
}

Step Do(Step::Action action, std::string text) {
  Step step = Reply(std::move(text));
  step.action = action;
  return step;
}

// The reply for a failed login (RFC 2449 §8, RFC 3206 §4). A failure that is not known to be the
// client's is temporary.
std::string LoginError(const absl::Status& status) {
  switch (status.code()) {
    case absl::StatusCode::kUnauthenticated:
    case absl::StatusCode::kNotFound:
      return "-ERR [AUTH] wrong name or password\r\n";
    case absl::StatusCode::kPermissionDenied:
      return "-ERR [SYS/PERM] this account may not log in\r\n";
    case absl::StatusCode::kAborted:
      return "-ERR [IN-USE] maildrop is locked by another session\r\n";
    case absl::StatusCode::kResourceExhausted:
      return "-ERR [SYS/TEMP] too many sessions, try again later\r\n";
    default:
      return "-ERR [SYS/TEMP] try again later\r\n";
  }
}

absl::string_view TakeWord(absl::string_view* args) {
  const absl::string_view word = args->substr(0, args->find(' '));
  args->remove_prefix(word.size());
  *args = absl::StripLeadingAsciiWhitespace(*args);
  return word;
}

}  // namespace

const Machine::Command Machine::kCommands[] = {
    // name     handler         AUTHORIZATION  TRANSACTION
    {"capa", &Machine::Capa, true, true},  {"stls", &Machine::Stls, true, false}, {"user", &Machine::User, true, false},
    {"pass", &Machine::Pass, true, false}, {"auth", &Machine::Auth, true, false}, {"quit", &Machine::Quit, true, true},
    {"stat", &Machine::Stat, false, true}, {"list", &Machine::List, false, true}, {"uidl", &Machine::Uidl, false, true},
    {"retr", &Machine::Retr, false, true}, {"top", &Machine::Top, false, true},   {"dele", &Machine::Dele, false, true},
    {"noop", &Machine::Noop, false, true}, {"rset", &Machine::Rset, false, true},
};

std::string Machine::Greeting() const { return "+OK POP3 ready\r\n"; }

size_t Machine::MaxLine() const { return state_ == State::kAuthorization ? kMaxAuthLine : kMaxCommandLine; }

Step Machine::OnLine(absl::string_view line) {
  if (sasl_.has_value()) return OnSasl(sasl_->OnLine(line));
  // RFC 1939 §3: keywords in any case, arguments separated by one blank.
  absl::string_view args = line;
  const std::string name = absl::AsciiStrToLower(TakeWord(&args));
  for (const Command& command : kCommands) {
    if (name != command.name) continue;
    command_ = command.name;
    const bool allowed = state_ == State::kAuthorization ? command.in_authorization : command.in_transaction;
    if (!allowed || state_ == State::kUpdate) return Bad("-ERR command not valid in this state\r\n");
    bad_commands_ = 0;
    // A password may end in blanks; nothing else does.
    return (this->*command.handler)(name == "pass" ? line.substr(std::min<size_t>(5, line.size()))
                                                   : absl::StripTrailingAsciiWhitespace(args));
  }
  command_ = "other";
  return Bad("-ERR unknown command\r\n");
}

Step Machine::OnLineTooLong() {
  sasl_.reset();
  command_ = "other";
  return Bad("-ERR line too long\r\n");
}

Step Machine::Bad(std::string reply) {
  if (++bad_commands_ < options_.max_bad_commands) return Reply(std::move(reply));
  return Do(Step::Action::kClose, "-ERR too many bad commands\r\n");
}

// RFC 2449 §5, §6
Step Machine::Capa(absl::string_view args) {
  std::string out = "+OK\r\nTOP\r\nUIDL\r\nRESP-CODES\r\nAUTH-RESP-CODE\r\nPIPELINING\r\nEXPIRE NEVER\r\n";
  if (options_.tls_available && !options_.tls && state_ == State::kAuthorization) out += "STLS\r\n";
  if (MayAuthenticate()) absl::StrAppend(&out, "USER\r\nSASL ", absl::StrJoin(sasl::MechanismNames(), " "), "\r\n");
  return Reply(out + "IMPLEMENTATION Posthouse\r\n.\r\n");
}

// RFC 2595 §4
Step Machine::Stls(absl::string_view args) {
  if (options_.tls) return Bad("-ERR TLS is already active\r\n");
  if (!options_.tls_available) return Bad("-ERR TLS is not available\r\n");
  return Do(Step::Action::kStartTls, "+OK begin TLS negotiation\r\n");
}

void Machine::OnTls() {
  options_.tls = true;
  user_.clear();
  sasl_.reset();
}

// ---- AUTHORIZATION

Step Machine::User(absl::string_view args) {
  if (!MayAuthenticate()) return Bad("-ERR TLS required, use STLS first\r\n");
  if (args.empty()) return Bad("-ERR syntax: USER name\r\n");
  user_ = std::string(args);
  return Reply("+OK send PASS\r\n");  // the same for names that do not exist
}

Step Machine::Pass(absl::string_view args) {
  if (user_.empty()) return Bad("-ERR USER first\r\n");
  return Login(std::exchange(user_, {}), std::string(args));
}

// RFC 5034 §4: AUTH mechanism [initial-response]
Step Machine::Auth(absl::string_view args) {
  if (!MayAuthenticate()) return Bad("-ERR TLS required, use STLS first\r\n");
  // Without argument: clients older than CAPA ask for the list.
  if (args.empty()) return Reply(absl::StrCat("+OK\r\n", absl::StrJoin(sasl::MechanismNames(), "\r\n"), "\r\n.\r\n"));
  sasl_ = sasl::Exchange::Begin(TakeWord(&args));
  if (!sasl_.has_value())
    return Bad(absl::StrCat("-ERR mechanisms: ", absl::StrJoin(sasl::MechanismNames(), " "), "\r\n"));
  user_.clear();
  return OnSasl(sasl_->Start(args.empty() ? std::nullopt : std::make_optional(args)));
}

Step Machine::OnSasl(sasl::Step step) {
  command_ = "auth";
  if (const auto* challenge = std::get_if<sasl::Challenge>(&step)) {
    return Reply(absl::StrCat("+ ", challenge->bytes, "\r\n"));
  }
  sasl_.reset();
  if (auto* credentials = std::get_if<sasl::Credentials>(&step)) {
    return Login(std::move(credentials->username), std::move(credentials->password));
  }
  const absl::Status& error = std::get<absl::Status>(step);
  switch (error.code()) {
    case absl::StatusCode::kCancelled:
      return Reply("-ERR authentication cancelled\r\n");  // RFC 5034 §4
    case absl::StatusCode::kInvalidArgument:
      return Bad("-ERR malformed SASL response\r\n");
    case absl::StatusCode::kPermissionDenied:
      return Bad("-ERR [AUTH] the authorization identity must be the user name\r\n");
    default:
      return OnLogin(error, {});
  }
}

Step Machine::Login(std::string username, std::string password) {
  Step step;
  step.action = Step::Action::kLogin;
  step.username = std::move(username);
  step.password = std::move(password);
  return step;
}

Step Machine::OnLogin(const absl::Status& status, Maildrop maildrop) {
  if (!status.ok()) {
    const bool wrong = absl::IsUnauthenticated(status) || absl::IsNotFound(status);
    if (wrong && ++login_failures_ >= options_.max_login_failures) return Do(Step::Action::kClose, LoginError(status));
    return Reply(LoginError(status));
  }
  state_ = State::kTransaction;
  drop_ = std::move(maildrop);
  deleted_.assign(drop_.messages.size(), false);
  retrieved_.assign(drop_.messages.size(), false);
  left_ = drop_.messages.size();
  for (const Maildrop::Entry& entry : drop_.messages) left_bytes_ += entry.size_bytes;
  return Reply(absl::StrCat("+OK ", left_, " messages\r\n"));
}

// ---- TRANSACTION

Step Machine::Stat(absl::string_view args) { return Reply(absl::StrCat("+OK ", left_, " ", left_bytes_, "\r\n")); }

int64_t Machine::Find(absl::string_view number) const {
  uint32_t n = 0;
  if (number.empty() || !absl::ascii_isdigit(static_cast<unsigned char>(number[0])) || !absl::SimpleAtoi(number, &n))
    return -1;
  if (n < 1 || n > drop_.messages.size() || deleted_[n - 1]) return -1;
  return static_cast<int64_t>(n) - 1;
}

// RFC 1939 §7: 1 to 70 characters 0x21 to 0x7E, the same in every session.
std::string Machine::UniqueId(Uid uid) const { return absl::StrCat(drop_.uid_validity.value(), ".", uid.value()); }

Step Machine::List(absl::string_view args) { return Listing(false, args); }
Step Machine::Uidl(absl::string_view args) { return Listing(true, args); }

Step Machine::Listing(bool uidl, absl::string_view args) {
  if (!args.empty()) {
    const int64_t i = Find(args);
    if (i < 0) return Reply("-ERR no such message\r\n");
    const Maildrop::Entry& entry = drop_.messages[static_cast<size_t>(i)];
    return Reply(absl::StrCat("+OK ", i + 1, " ", uidl ? UniqueId(entry.uid) : absl::StrCat(entry.size_bytes), "\r\n"));
  }
  listing_uidl_ = uidl;
  listing_at_ = 0;
  return Do(Step::Action::kListing, absl::StrCat("+OK ", left_, " messages\r\n"));
}

bool Machine::AppendListing(size_t max_bytes, std::string* out) {
  const size_t stop = out->size() + max_bytes;
  for (; listing_at_ < drop_.messages.size(); ++listing_at_) {
    if (out->size() >= stop) return true;
    if (deleted_[listing_at_]) continue;
    const Maildrop::Entry& entry = drop_.messages[listing_at_];
    if (listing_uidl_) {
      absl::StrAppend(out, listing_at_ + 1, " ", UniqueId(entry.uid), "\r\n");
    } else {
      absl::StrAppend(out, listing_at_ + 1, " ", entry.size_bytes, "\r\n");
    }
  }
  *out += ".\r\n";
  return false;
}

Step Machine::Retr(absl::string_view args) {
  const int64_t i = Find(args);
  if (i < 0) return Reply("-ERR no such message\r\n");
  Step step;
  step.action = Step::Action::kSend;
  step.uid = drop_.messages[static_cast<size_t>(i)].uid;
  return step;
}

// TOP msg n
Step Machine::Top(absl::string_view args) {
  const int64_t i = Find(TakeWord(&args));
  if (i < 0) return Reply("-ERR no such message\r\n");
  Step step;
  if (args.empty() || args[0] == '-' || args[0] == '+' || !absl::SimpleAtoi(args, &step.lines))
    return Bad("-ERR syntax: TOP message lines\r\n");
  step.action = Step::Action::kSend;
  step.uid = drop_.messages[static_cast<size_t>(i)].uid;
  step.top = true;
  return step;
}

Step Machine::Dele(absl::string_view args) {
  const int64_t i = Find(args);
  if (i < 0) return Reply("-ERR no such message\r\n");
  const size_t at = static_cast<size_t>(i);
  deleted_[at] = true;
  --left_;
  left_bytes_ -= drop_.messages[at].size_bytes;
  return Reply("+OK message marked as deleted\r\n");
}

Step Machine::Noop(absl::string_view args) { return Reply("+OK\r\n"); }

Step Machine::Rset(absl::string_view args) {
  std::fill(deleted_.begin(), deleted_.end(), false);
  left_ = drop_.messages.size();
  left_bytes_ = 0;
  for (const Maildrop::Entry& entry : drop_.messages) left_bytes_ += entry.size_bytes;
  return Reply(absl::StrCat("+OK ", left_, " messages\r\n"));
}

// ---- UPDATE

Step Machine::Quit(absl::string_view args) {
  if (state_ == State::kAuthorization) return Do(Step::Action::kClose, "+OK signing off\r\n");
  state_ = State::kUpdate;
  Step step;
  step.action = Step::Action::kUpdate;
  return step;
}

// RFC 1939 §6: -ERR when some messages were not removed.
Step Machine::OnUpdated(const absl::Status& status) {
  if (status.ok()) return Do(Step::Action::kClose, "+OK signing off\r\n");
  return Do(Step::Action::kClose, "-ERR [SYS/TEMP] some deleted messages not removed\r\n");
}

void Machine::OnSent(Uid uid) {
  const auto at = std::lower_bound(drop_.messages.begin(), drop_.messages.end(), uid,
                                   [](const Maildrop::Entry& entry, Uid value) { return entry.uid < value; });
  if (at != drop_.messages.end() && at->uid == uid) retrieved_[static_cast<size_t>(at - drop_.messages.begin())] = true;
}

// Neighbours in the maildrop make one range: no message between them exists, and UIDs are never
// used again (RFC 9051 §2.3.1.1).
template <typename Wanted>
UidSet Machine::Uids(Wanted wanted) const {
  UidSet uids;
  uint32_t previous = 0;  // 0: the message before is not in the set
  for (size_t i = 0; i < drop_.messages.size(); ++i) {
    const uint32_t uid = drop_.messages[i].uid.value();
    const bool take = wanted(i);
    if (take) uids.Add(previous != 0 ? previous : uid, uid);
    previous = take ? uid : 0;
  }
  return uids;
}

UidSet Machine::Deleted() const {
  return Uids([this](size_t i) { return deleted_[i]; });
}

UidSet Machine::Retrieved() const {
  return Uids([this](size_t i) { return retrieved_[i] && !deleted_[i]; });
}

}  // namespace posthouse::gateway::pop3
