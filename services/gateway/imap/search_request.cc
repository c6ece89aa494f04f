#include "services/gateway/imap/search_request.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/common/uid_set/uid_set_proto.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/imap/mailbox_name.h"

namespace posthouse::gateway {
namespace {

using Kind = imap::SearchKey::Kind;
using Out = mail::SearchKey;

void SetUids(const UidSet& uids, Out* out) {
  out->set_kind(Out::KIND_UIDS);
  UidSetToProto(uids, out->mutable_uids());
}

absl::Status TranslateKeys(const imap::SearchKey& key, const Selected& view, const UidSet& saved, Out::Kind kind,
                           Out* out) {
  out->set_kind(kind);
  for (const imap::SearchKey& inner : key.keys) {
    PH_RETURN_IF_ERROR(TranslateSearch(inner, view, saved, out->add_keys()));
  }
  return absl::OkStatus();
}

Out::Kind WithNumber(Kind kind) {
  switch (kind) {
    case Kind::kBefore:
      return Out::KIND_BEFORE;
    case Kind::kOn:
      return Out::KIND_ON;
    case Kind::kSince:
      return Out::KIND_SINCE;
    case Kind::kSentBefore:
      return Out::KIND_SENT_BEFORE;
    case Kind::kSentOn:
      return Out::KIND_SENT_ON;
    case Kind::kSentSince:
      return Out::KIND_SENT_SINCE;
    case Kind::kSavedBefore:
      return Out::KIND_SAVED_BEFORE;
    case Kind::kSavedOn:
      return Out::KIND_SAVED_ON;
    case Kind::kSavedSince:
      return Out::KIND_SAVED_SINCE;
    case Kind::kLarger:
      return Out::KIND_LARGER;
    case Kind::kSmaller:
      return Out::KIND_SMALLER;
    case Kind::kModseq:
      return Out::KIND_MODSEQ;
    case Kind::kOlder:
      return Out::KIND_OLDER;
    case Kind::kYounger:
      return Out::KIND_YOUNGER;
    default:
      return Out::KIND_UNSPECIFIED;
  }
}

absl::Status Simple(const imap::SearchKey& key, Out* out) {
  switch (key.kind) {
    case Kind::kAll:
      out->set_kind(Out::KIND_ALL);
      break;
    case Kind::kFlag:
      out->set_kind(Out::KIND_FLAG);
      out->set_flag(static_cast<uint32_t>(key.number));
      return absl::OkStatus();
    case Kind::kKeyword:
      out->set_kind(Out::KIND_KEYWORD);
      break;
    case Kind::kHeader:
      out->set_kind(Out::KIND_HEADER);
      out->set_addresses(key.addresses);
      break;
    case Kind::kBody:
      out->set_kind(Out::KIND_BODY);
      break;
    case Kind::kText:
      out->set_kind(Out::KIND_TEXT);
      break;
    case Kind::kEmailId:
      out->set_kind(Out::KIND_EMAIL_ID);
      break;
    case Kind::kThreadId:
      out->set_kind(Out::KIND_THREAD_ID);
      break;
    default:
      out->set_kind(WithNumber(key.kind));
      break;
  }
  if (!IsUtf8(key.text) || !IsUtf8(key.field)) return absl::InvalidArgumentError("Text is not in the given charset");
  out->set_field(key.field);
  out->set_text(key.text);
  out->set_number(key.number);
  return absl::OkStatus();
}

}  // namespace

bool IsKnownCharset(absl::string_view charset) {
  return charset.empty() || charset == "US-ASCII" || charset == "UTF-8";
}

absl::Status TranslateSearch(const imap::SearchKey& key, const Selected& view, const UidSet& saved, Out* out) {
  const SequenceMap& map = view.map();
  switch (key.kind) {
    case Kind::kAnd:
      return TranslateKeys(key, view, saved, Out::KIND_AND, out);
    case Kind::kOr:
      return TranslateKeys(key, view, saved, Out::KIND_OR, out);
    case Kind::kNot:
      return TranslateKeys(key, view, saved, Out::KIND_NOT, out);
    case Kind::kSequence:
      if (key.set.saved_result) {
        SetUids(saved, out);
      } else {
        // Departs from RFC 3501 §9, seq-number: a number beyond the end matches nothing and is no
        // error, as clients count on it.
        SetUids(map.ToUids(key.set.Resolve(map.size())), out);
      }
      return absl::OkStatus();
    case Kind::kUid:
      SetUids(key.set.saved_result ? saved : map.uids().Intersect(key.set.Resolve(map.max_uid().value())), out);
      return absl::OkStatus();
    case Kind::kRecent:
      SetUids(map.uids().Intersect(view.recent_uids()), out);
      return absl::OkStatus();
    default:
      return Simple(key, out);
  }
}

SearchAnswer::SearchAnswer(const imap::SearchArgs& args, std::string tag, bool uid, UidSet found, Modseq modseq)
    : extended_(args.extended),
      args_(args),
      tag_(std::move(tag)),
      uid_(uid),
      found_(std::move(found)),
      modseq_(modseq) {}

// RFC 4731 §3.1: * ESEARCH (TAG "a") UID MIN 1 MAX 9 ALL 1:9 COUNT 9 MODSEQ 5
void SearchAnswer::Extended(std::string& out) const {
  absl::StrAppend(&out, "* ESEARCH (TAG \"", tag_, "\")", uid_ ? " UID" : "");
  if (args_.return_min && !found_.empty()) absl::StrAppend(&out, " MIN ", found_.Min());
  if (args_.return_max && !found_.empty()) absl::StrAppend(&out, " MAX ", found_.Max());
  if (args_.return_all && !found_.empty()) absl::StrAppend(&out, " ALL ", found_.ToString());
  if (args_.return_count) absl::StrAppend(&out, " COUNT ", found_.Count());
  // RFC 7162 §3.1.5
  if (args_.uses_modseq && !found_.empty()) absl::StrAppend(&out, " MODSEQ ", modseq_.value());
  out += "\r\n";
}

bool SearchAnswer::Next(std::string& out, size_t limit) {
  if (extended_) {
    // RFC 5182 §2.1: SAVE alone sends no response.
    if (args_.return_min || args_.return_max || args_.return_all || args_.return_count) Extended(out);
    return false;
  }
  if (!started_) out += "* SEARCH";
  started_ = true;
  const size_t start = out.size();
  for (; range_ < found_.ranges().size(); ++range_, number_ = 0) {
    const UidSet::Range& range = found_.ranges()[range_];
    if (number_ == 0) number_ = range.first;
    for (;; ++number_) {
      if (out.size() - start >= limit) return true;
      absl::StrAppend(&out, " ", number_);
      if (number_ == range.last) break;
    }
  }
  if (args_.uses_modseq && !found_.empty()) absl::StrAppend(&out, " (MODSEQ ", modseq_.value(), ")");
  out += "\r\n";
  return false;
}

}  // namespace posthouse::gateway
