// Machine: the states of one POP3 session, and the reply to each command. No I/O.
//
//                 USER+PASS, AUTH            QUIT
//   kAuthorization ─────────▶ kTransaction ─────────▶ kUpdate ──▶ (closed)
//        │  ▲                      STAT LIST RETR DELE NOOP RSET TOP UIDL
//        │  └─ STLS: forgets all earlier input (RFC 2595 §4)
//        └─ QUIT ──▶ (closed)
//
// RFC 1939, 2449 (CAPA), 2595 (STLS), 5034 (AUTH), 3206 (AUTH-RESP-CODE). Work that needs I/O is
// returned as a Step::Action; the session does it and reports the result as an event. A command out
// of its state gets -ERR and changes nothing.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "services/common/ids/ids.h"
#include "services/common/uid_set/uid_set.h"
#include "services/mail_formats/sasl/exchange.h"

namespace posthouse::gateway::pop3 {

// The maildrop as it was at login (RFC 1939 §5: message numbers do not change).
struct Maildrop {
  struct Entry {
    Uid uid;
    uint32_t size_bytes = 0;
  };
  UidValidity uid_validity;
  std::vector<Entry> messages;
};

struct Step {
  enum class Action {
    kReply,     // send `reply`
    kClose,     // send `reply`, close
    kStartTls,  // send `reply`, handshake, OnTls()
    kLogin,     // check username and password, open the maildrop, OnLogin()
    kListing,   // send `reply`, then AppendListing() until it returns false
    kSend,      // send message `uid` (all of it, or its header and `lines`), or -ERR
    kUpdate,    // remove Deleted(), OnUpdated()
  };
  Action action = Action::kReply;
  std::string reply;  // with CRLF
  std::string username, password;
  Uid uid;
  bool top = false;
  uint64_t lines = 0;
};

class Machine {
 public:
  enum class State { kAuthorization, kTransaction, kUpdate };
  struct Options {
    bool tls_available = false;  // STLS can be offered
    bool tls = false;            // the connection has TLS
    bool allow_plaintext_auth = false;
    size_t max_login_failures = 5;
    size_t max_bad_commands = 20;  // in a row
  };
  explicit Machine(const Options& options) : options_(options) {}

  std::string Greeting() const;
  // A line without its CRLF: a command, or the response that AUTH waits for.
  Step OnLine(absl::string_view line);
  // The line was longer than MaxLine().
  Step OnLineTooLong();
  // RFC 2449 §4: 255 octets with CRLF; RFC 5034 §4: 12,288 for an AUTH exchange.
  size_t MaxLine() const;

  // Events. OnLogin: the status of Logins::Check() and of opening the maildrop; kAborted: another
  // session has locked it.
  void OnTls();
  Step OnLogin(const absl::Status& status, Maildrop maildrop);
  Step OnUpdated(const absl::Status& status);
  // The message was sent whole: counts as Retrieved().
  void OnSent(Uid uid);

  // Continues LIST or UIDL without argument: at most about `max_bytes`; false: done.
  bool AppendListing(size_t max_bytes, std::string* out);

  // A range may span UIDs without a message.
  UidSet Deleted() const;
  UidSet Retrieved() const;  // and not deleted

  State state() const { return state_; }
  // The name of the last command that was understood, lower case; else "other".
  absl::string_view command() const { return command_; }

 private:
  using Handler = Step (Machine::*)(absl::string_view args);
  struct Command {
    absl::string_view name;
    Handler handler;
    bool in_authorization, in_transaction;
  };
  static const Command kCommands[];

  Step Capa(absl::string_view args);
  Step Stls(absl::string_view args);
  Step User(absl::string_view args);
  Step Pass(absl::string_view args);
  Step Auth(absl::string_view args);
  Step Quit(absl::string_view args);
  Step Stat(absl::string_view args);
  Step List(absl::string_view args);
  Step Uidl(absl::string_view args);
  Step Retr(absl::string_view args);
  Step Top(absl::string_view args);
  Step Dele(absl::string_view args);
  Step Noop(absl::string_view args);
  Step Rset(absl::string_view args);

  Step OnSasl(sasl::Step step);
  Step Login(std::string username, std::string password);
  Step Bad(std::string reply);
  bool MayAuthenticate() const { return options_.tls || options_.allow_plaintext_auth; }
  // The index a message number names; -1: none, or marked as deleted.
  int64_t Find(absl::string_view number) const;
  Step Listing(bool uidl, absl::string_view args);
  std::string UniqueId(Uid uid) const;
  template <typename Wanted>
  UidSet Uids(Wanted wanted) const;

  Options options_;
  State state_ = State::kAuthorization;
  absl::string_view command_ = "other";
  size_t login_failures_ = 0;
  size_t bad_commands_ = 0;
  std::string user_;                    // of USER, or of AUTH LOGIN's first answer
  std::optional<sasl::Exchange> sasl_;  // set while AUTH waits for an answer

  Maildrop drop_;
  std::vector<bool> deleted_, retrieved_;
  size_t left_ = 0;  // messages not deleted
  uint64_t left_bytes_ = 0;
  bool listing_uidl_ = false;
  size_t listing_at_ = 0;
};

}  // namespace posthouse::gateway::pop3
