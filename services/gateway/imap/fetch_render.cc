#include "services/gateway/imap/fetch_render.h"

#include <algorithm>
#include <utility>

#include "absl/strings/str_cat.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/status/status.h"
#include "services/mail_formats/imap/response.h"

namespace posthouse::gateway {
namespace {

mail::Section::Kind KindOf(imap::FetchSection::Kind kind) {
  using K = imap::FetchSection::Kind;
  switch (kind) {
    case K::kWhole:
      return mail::Section::KIND_UNSPECIFIED;
    case K::kHeader:
      return mail::Section::KIND_HEADER;
    case K::kHeaderFields:
      return mail::Section::KIND_HEADER_FIELDS;
    case K::kHeaderFieldsNot:
      return mail::Section::KIND_HEADER_FIELDS_NOT;
    case K::kText:
      return mail::Section::KIND_TEXT;
    case K::kMime:
      return mail::Section::KIND_MIME;
  }
  return mail::Section::KIND_UNSPECIFIED;
}

void AppendPreview(std::string& out, absl::string_view preview) {
  if (preview.empty()) {
    out += "\"\"";  // RFC 8970 §3.1: nothing to show
  } else {
    imap::AppendString(out, preview);
  }
}

}  // namespace

void FillFetchRequest(const imap::FetchArgs& args, const Selected::Dialect& dialect, bool set_seen,
                      mail::FetchRequest* request) {
  request->set_flags(args.flags || set_seen);
  request->set_modseq(args.modseq || args.changed_since.has_value() || set_seen || (dialect.condstore && args.flags));
  request->set_internal_date(args.internal_date);
  request->set_size(args.size);
  request->set_envelope(args.envelope);
  request->set_body_structure(args.body_structure);
  request->set_body(args.body);
  request->set_save_date(args.save_date);
  request->set_ids(args.email_id || args.thread_id);
  request->set_preview(args.preview);
  request->set_set_seen(set_seen);
  if (args.changed_since.has_value()) request->set_changed_since(args.changed_since->value());
  for (const imap::FetchSection& section : args.sections) {
    mail::Section* out = request->add_sections();
    out->mutable_part()->Add(section.part.begin(), section.part.end());
    out->set_kind(KindOf(section.kind));
    for (const std::string& field : section.fields) out->add_fields(field);
    out->set_partial(section.partial);
    out->set_offset(section.offset);
    out->set_length(section.length);
  }
}

FetchRender::FetchRender(const imap::FetchArgs& args, bool uid, const Selected& view, const Selected::Dialect& dialect,
                         bool with_flags)
    : args_(args), uid_(uid || args.uid), view_(view), dialect_(dialect), with_flags_(with_flags) {}
FetchRender::~FetchRender() = default;

void FetchRender::Take(mail::FetchResponse chunk) {
  if (chunk_ == nullptr) chunk_ = std::make_unique<mail::FetchResponse>();
  *chunk_ = std::move(chunk);
  row_ = 0;
  piece_ = 0;
}

void FetchRender::AppendRow(std::string& out, const mail::MessageRows& rows, int i, uint32_t sequence) const {
  const Uid uid(rows.uid(i));
  absl::StrAppend(&out, "* ", sequence, " FETCH (");
  const size_t start = out.size();
  const auto next = [&out, start]() -> std::string& {
    if (out.size() > start) out += ' ';
    return out;
  };
  if (uid_) absl::StrAppend(&next(), "UID ", uid.value());
  const bool has_flags = i < rows.flags_size();
  if (has_flags && (args_.flags || with_flags_)) {
    view_.AppendFlags(next(), uid, rows.flags(i), i < rows.keywords_size() ? absl::string_view(rows.keywords(i)) : "");
  }
  const bool modseq =
      args_.modseq || args_.changed_since.has_value() || (dialect_.condstore && (args_.flags || with_flags_));
  if (modseq && i < rows.modseq_size()) absl::StrAppend(&next(), "MODSEQ (", rows.modseq(i), ")");
  if (args_.internal_date && i < rows.internal_date_size()) {
    next() += "INTERNALDATE ";
    imap::AppendDateTime(out,
                         {rows.internal_date(i), i < rows.internal_date_zone_size() ? rows.internal_date_zone(i) : 0});
  }
  if (args_.size && i < rows.size_bytes_size()) absl::StrAppend(&next(), "RFC822.SIZE ", rows.size_bytes(i));
  if (args_.envelope && i < rows.envelope_size()) absl::StrAppend(&next(), "ENVELOPE ", rows.envelope(i));
  if (args_.body_structure && i < rows.body_structure_size()) {
    absl::StrAppend(&next(), "BODYSTRUCTURE ", rows.body_structure(i));
  }
  if (args_.body && i < rows.body_size()) absl::StrAppend(&next(), "BODY ", rows.body(i));
  if (args_.save_date && i < rows.save_date_size()) {
    next() += "SAVEDATE ";
    imap::AppendDateTime(out, {rows.save_date(i), 0});
  }
  if (args_.email_id && i < rows.email_id_size()) absl::StrAppend(&next(), "EMAILID (", rows.email_id(i), ")");
  if (args_.thread_id && i < rows.thread_id_size()) {
    absl::StrAppend(&next(), "THREADID ",
                    rows.thread_id(i).empty() ? "NIL" : absl::StrCat("(", rows.thread_id(i), ")"));
  }
  if (args_.preview && i < rows.preview_size()) {
    next() += "PREVIEW ";
    AppendPreview(out, rows.preview(i));
  }
}

absl::StatusOr<bool> FetchRender::Next(std::string& out, size_t limit) {
  if (chunk_ == nullptr) return false;
  const mail::MessageRows& rows = chunk_->rows();
  for (; row_ < rows.uid_size(); ++row_) {
    if (out.size() >= limit) return true;
    const Uid uid(rows.uid(row_));
    const uint32_t sequence = view_.map().SequenceOf(uid);
    if (sequence == 0) continue;  // newer than the view: the client does not know it
    if (args_.sections.empty()) {
      AppendRow(out, rows, row_, sequence);
      out += ")\r\n";
      ++answered_;
    } else {
      pending_.push_back({uid, std::string()});
      AppendRow(pending_.back().begun, rows, row_, sequence);
    }
  }
  for (; piece_ < chunk_->pieces_size(); ++piece_) {
    if (out.size() >= limit) return true;
    PH_RETURN_IF_ERROR(AppendPiece(out, piece_));
  }
  return false;
}

// Opens the message whose first section begins. Rows before it have no sections: these messages
// were expunged meanwhile.
bool FetchRender::OpenMessage(std::string& out, Uid uid) {
  while (!pending_.empty() && pending_.front().uid < uid) pending_.pop_front();
  if (pending_.empty() || pending_.front().uid != uid) return false;
  out += pending_.front().begun;
  open_uid_ = uid;
  section_ = 0;
  in_section_ = false;
  if (out.back() == '(') return true;
  out += ' ';
  return true;
}

absl::Status FetchRender::AppendPiece(std::string& out, int index) {
  const mail::SectionPiece& piece = chunk_->pieces(index);
  const Uid uid(piece.uid());
  if (uid == skipped_uid_) return absl::OkStatus();
  if (open_uid_.empty() && !OpenMessage(out, uid)) {
    skipped_uid_ = uid;
    return absl::OkStatus();
  }
  if (uid != open_uid_ || piece.section() != section_) return absl::DataLossError("fetch stream out of order");
  if (!in_section_) {
    if (section_ > 0) out += ' ';
    absl::StrAppend(&out, args_.sections[section_].label, " ");
    if (piece.nil()) {
      out += "NIL";
    } else {
      absl::StrAppend(&out, "{", piece.total_bytes(), "}\r\n");
    }
    left_ = piece.nil() ? 0 : piece.total_bytes();
    in_section_ = true;
  }
  if (piece.data().size() > left_) return absl::DataLossError("more bytes than announced");
  left_ -= piece.data().size();
  out += piece.data();
  if (!piece.last() && !piece.nil()) return absl::OkStatus();
  if (left_ != 0) return absl::DataLossError("fewer bytes than announced");
  in_section_ = false;
  if (++section_ == args_.sections.size()) {
    out += ")\r\n";
    ++answered_;
    open_uid_ = Uid();
    pending_.pop_front();
  }
  return absl::OkStatus();
}

absl::Status FetchRender::Finish() const {
  return open_uid_.empty() ? absl::OkStatus() : absl::DataLossError("the fetch stream ended inside a message");
}

}  // namespace posthouse::gateway
