#include "services/gateway/testing/fake_backend.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "posthouse/directory/v1/directory.pb.h"
#include "posthouse/mailbox/v1/mailbox.pb.h"
#include "services/common/async/sync.h"
#include "services/common/status/status.h"

namespace posthouse::gateway {
namespace {

template <typename Ranges>
bool InRanges(const Ranges& ranges, uint32_t uid) {
  return std::any_of(ranges.begin(), ranges.end(),
                     [uid](const auto& r) { return uid >= r.first() && uid <= r.last(); });
}

template <typename Ranges>
void AddUid(uint32_t uid, Ranges* ranges) {
  if (!ranges->empty() && ranges->at(ranges->size() - 1).last() + 1 == uid) {
    ranges->at(ranges->size() - 1).set_last(uid);
    return;
  }
  auto* range = ranges->Add();
  range->set_first(uid);
  range->set_last(uid);
}

std::string HeaderOf(const std::string& message) {
  const size_t end = message.find("\r\n\r\n");
  return end == std::string::npos ? message : message.substr(0, end + 4);
}

std::string FieldsOf(const std::string& message, const mail::Section& section, bool wanted) {
  std::string out;
  const std::string header = HeaderOf(message);
  for (size_t at = 0; at < header.size();) {
    const size_t end = header.find("\r\n", at) + 2;
    const std::string line = header.substr(at, end - at);
    at = end;
    const bool named = std::any_of(section.fields().begin(), section.fields().end(), [&](const std::string& field) {
      return absl::StartsWithIgnoreCase(line, absl::StrCat(field, ":"));
    });
    if (named == wanted && line != "\r\n") out += line;
  }
  return out + "\r\n";
}

// False: no such part.
bool SectionOf(const std::string& message, const mail::Section& section, std::string* out) {
  const std::string header = HeaderOf(message);
  switch (section.kind()) {
    case mail::Section::KIND_HEADER:
      *out = header;
      break;
    case mail::Section::KIND_HEADER_FIELDS:
    case mail::Section::KIND_HEADER_FIELDS_NOT:
      *out = FieldsOf(message, section, section.kind() == mail::Section::KIND_HEADER_FIELDS);
      break;
    case mail::Section::KIND_TEXT:
      *out = message.substr(header.size());
      break;
    default:
      if (section.part_size() > 0 && section.part(0) != 1) return false;
      *out = section.part_size() == 0 ? message : message.substr(header.size());
  }
  if (section.partial()) {
    *out = section.offset() >= out->size() ? "" : out->substr(section.offset(), section.length());
  }
  return true;
}

}  // namespace

FakeBackend::FakeBackend() {
  absl::MutexLock lock(&mutex_);
  AddBox("INBOX", "");
  AddBox("Sent", "\\Sent");
  AddBox("Trash", "\\Trash");
}
FakeBackend::~FakeBackend() = default;

// ---- what tests do

uint32_t FakeBackend::Deliver(const std::string& folder, const std::string& message, uint32_t flags) {
  absl::MutexLock lock(&mutex_);
  Message added;
  added.bytes = message;
  added.flags = flags;
  return AddMessage(*ByName(folder), std::move(added));
}

void FakeBackend::SetFlags(const std::string& folder, uint32_t uid, uint32_t flags) {
  absl::MutexLock lock(&mutex_);
  Box& box = *ByName(folder);
  box.messages.at(uid).flags = flags;
  box.messages.at(uid).modseq = ++box.modseq;
  Hint(box);
}

void FakeBackend::Remove(const std::string& folder, uint32_t uid) {
  absl::MutexLock lock(&mutex_);
  Box& box = *ByName(folder);
  ++box.modseq;
  Vanish(box, uid);
  Hint(box);
}

void FakeBackend::RemoveFolder(const std::string& folder) {
  absl::MutexLock lock(&mutex_);
  const Box box = *ByName(folder);
  boxes_.erase(box.id);
  Box last = box;
  ++last.modseq;
  Hint(last);
}

void FakeBackend::ForgetChanges(const std::string& folder) {
  absl::MutexLock lock(&mutex_);
  Box& box = *ByName(folder);
  box.log_floor = box.modseq;
  box.vanished.clear();
}

void FakeBackend::Fail(const std::string& method, absl::Status status, int count) {
  absl::MutexLock lock(&mutex_);
  failures_.push_back({method, std::move(status), count});
}
int FakeBackend::calls(const std::string& method) const {
  absl::MutexLock lock(&mutex_);
  const auto it = calls_.find(method);
  return it == calls_.end() ? 0 : it->second;
}
void FakeBackend::set_hints(bool on) {
  absl::MutexLock lock(&mutex_);
  hints_ = on;
}
std::string FakeBackend::message(const std::string& folder, uint32_t uid) const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, box] : boxes_) {
    const auto it = box.messages.find(uid);
    if (box.name == folder && it != box.messages.end()) return it->second.bytes;
  }
  return "";
}
uint64_t FakeBackend::modseq(const std::string& folder) const {
  absl::MutexLock lock(&mutex_);
  for (const auto& [id, box] : boxes_) {
    if (box.name == folder) return box.modseq;
  }
  return 0;
}

// ---- state

absl::Status FakeBackend::Enter(const std::string& method) {
  ++calls_[method];
  for (Failure& failure : failures_) {
    if (failure.left > 0 && (failure.method == method || failure.method == "*")) {
      --failure.left;
      return failure.status;
    }
  }
  return absl::OkStatus();
}

FakeBackend::Box* FakeBackend::ByName(const std::string& name) {
  for (auto& [id, box] : boxes_) {
    if (box.name == name) return &box;
  }
  return nullptr;
}
FakeBackend::Box* FakeBackend::ById(const std::string& id) {
  const auto it = boxes_.find(id);
  return it == boxes_.end() ? nullptr : &it->second;
}

FakeBackend::Box& FakeBackend::AddBox(const std::string& name, const std::string& special_use) {
  const size_t slash = name.rfind('/');
  if (slash != std::string::npos && ByName(name.substr(0, slash)) == nullptr) AddBox(name.substr(0, slash), "");
  const std::string id = absl::StrCat("f", next_id_++);
  Box& box = boxes_[id];
  box.id = id;
  box.name = name;
  box.special_use = special_use;
  box.subscribed = subscribed_only_.erase(name) > 0;
  return box;
}

void FakeBackend::FillState(const Box& box, mail::FolderState* state) const {
  state->set_folder_id(box.id);
  state->set_uid_validity(7);
  state->set_uid_next(box.uid_next);
  state->set_highest_modseq(box.modseq);
  state->set_exists(box.messages.size());
  uint64_t unseen = 0, deleted = 0, bytes = 0;
  for (const auto& [uid, message] : box.messages) {
    unseen += (message.flags & mail::FLAG_SEEN) == 0 ? 1 : 0;
    deleted += (message.flags & mail::FLAG_DELETED) != 0 ? 1 : 0;
    bytes += message.bytes.size();
  }
  state->set_unseen(unseen);
  state->set_deleted(deleted);
  state->set_size_bytes(bytes);
  for (const std::string& keyword : box.keywords) state->add_keywords(keyword);
  state->set_keyword_limit(100);
}

void FakeBackend::FillFolder(const Box& box, bool with_state, mail::Folder* folder) const {
  folder->set_folder_id(box.id);
  folder->set_name(box.name);
  folder->set_subscribed(box.subscribed);
  folder->set_special_use(box.special_use);
  folder->set_no_select(box.no_select);
  for (const auto& [id, other] : boxes_) {
    if (absl::StartsWith(other.name, box.name + "/")) folder->set_has_children(true);
  }
  if (with_state) FillState(box, folder->mutable_state());
}

void FakeBackend::AddKeyword(Box& box, const std::string& keyword) {
  if (std::find(box.keywords.begin(), box.keywords.end(), keyword) == box.keywords.end())
    box.keywords.push_back(keyword);
}

void FakeBackend::AddRow(Box& box, uint32_t uid, const Message& message, mail::MessageRows* rows) {
  rows->add_uid(uid);
  rows->add_modseq(message.modseq);
  rows->add_flags(message.flags);
  std::string bits;
  for (size_t n = 0; n < box.keywords.size(); ++n) {
    if (message.keywords.count(box.keywords[n]) == 0) continue;
    bits.resize(n / 8 + 1, '\0');
    bits[n / 8] = static_cast<char>(bits[n / 8] | 1 << n % 8);
  }
  rows->add_keywords(bits);
}

uint32_t FakeBackend::AddMessage(Box& box, Message message) {
  message.modseq = ++box.modseq;
  for (const std::string& keyword : message.keywords) AddKeyword(box, keyword);
  const uint32_t uid = box.uid_next++;
  box.messages[uid] = std::move(message);
  Hint(box);
  return uid;
}

void FakeBackend::Vanish(Box& box, uint32_t uid) {
  if (box.messages.erase(uid) > 0) box.vanished[box.modseq].push_back(uid);
}

// ---- directory

Task<absl::StatusOr<directory::v1::AuthenticateResponse>> FakeBackend::Authenticate(
    rpc::TraceContext trace, directory::v1::AuthenticateRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("Authenticate"));
  if (request.username() != "joe@a.example" || request.password() != "secret") {
    co_return absl::UnauthenticatedError("wrong");
  }
  directory::v1::AuthenticateResponse response;
  response.mutable_account()->set_account_id("acc1");
  response.mutable_account()->set_tenant("t");
  response.set_address("joe@a.example");
  co_return response;
}

// ---- folders

Backend::Answer<mail::ListFoldersResponse> FakeBackend::ListFolders(Trace trace, mail::ListFoldersRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("ListFolders"));
  std::map<std::string, const Box*> by_name;
  for (const auto& [id, box] : boxes_) by_name[box.name] = &box;
  mail::ListFoldersResponse response;
  for (const auto& [name, box] : by_name) FillFolder(*box, request.with_state(), response.add_folders());
  for (const std::string& name : subscribed_only_) response.add_subscribed_only(name);
  co_return response;
}

Backend::Answer<mail::CreateFolderResponse> FakeBackend::CreateFolder(Trace trace, mail::CreateFolderRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("CreateFolder"));
  if (ByName(request.name()) != nullptr) co_return absl::AlreadyExistsError("taken");
  mail::CreateFolderResponse response;
  FillFolder(AddBox(request.name(), request.special_use()), true, response.mutable_folder());
  co_return response;
}

Backend::Answer<mail::DeleteFolderResponse> FakeBackend::DeleteFolder(Trace trace, mail::DeleteFolderRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("DeleteFolder"));
  const Box* box = ByName(request.name());
  if (box == nullptr) co_return absl::NotFoundError("no such folder");
  if (box->name == "INBOX") co_return absl::FailedPreconditionError("INBOX stays");
  if (box->subscribed) subscribed_only_.insert(box->name);
  boxes_.erase(std::string(box->id));
  co_return mail::DeleteFolderResponse();
}

Backend::Answer<mail::RenameFolderResponse> FakeBackend::RenameFolder(Trace trace, mail::RenameFolderRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("RenameFolder"));
  Box* box = ByName(request.from());
  if (box == nullptr) co_return absl::NotFoundError("no such folder");
  if (ByName(request.to()) != nullptr) co_return absl::AlreadyExistsError("taken");
  box->name = request.to();
  mail::RenameFolderResponse response;
  FillFolder(*box, true, response.mutable_folder());
  co_return response;
}

Backend::Answer<mail::SubscribeResponse> FakeBackend::Subscribe(Trace trace, mail::SubscribeRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("Subscribe"));
  Box* box = ByName(request.name());
  if (box != nullptr) {
    box->subscribed = request.subscribed();
  } else if (request.subscribed()) {
    subscribed_only_.insert(request.name());
  } else {
    subscribed_only_.erase(request.name());
  }
  co_return mail::SubscribeResponse();
}

Backend::Answer<mail::GetFolderResponse> FakeBackend::GetFolder(Trace trace, mail::GetFolderRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("GetFolder"));
  const Box* box = request.has_folder_id() ? ById(request.folder_id()) : ByName(request.name());
  if (box == nullptr) co_return absl::NotFoundError("no such folder");
  mail::GetFolderResponse response;
  FillFolder(*box, true, response.mutable_folder());
  co_return response;
}

Backend::Answer<mail::ListUidsResponse> FakeBackend::ListUids(Trace trace, mail::ListUidsRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("ListUids"));
  const Box* box = ById(request.folder_id());
  if (box == nullptr) co_return absl::NotFoundError("no such folder");
  mail::ListUidsResponse response;
  FillState(*box, response.mutable_state());
  for (const auto& [uid, message] : box->messages) {
    AddUid(uid, response.mutable_uids());
    if (response.first_unseen_uid() == 0 && (message.flags & mail::FLAG_SEEN) == 0) response.set_first_unseen_uid(uid);
  }
  co_return response;
}

// ---- reading

bool FakeBackend::Matches(Box& box, uint32_t uid, const Message& message, const mail::SearchKey& key) {
  using K = mail::SearchKey;
  const auto matches = [&](const K& inner)
                           ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return Matches(box, uid, message, inner); };
  const auto holds = [&](const std::string& text) { return absl::StrContains(text, key.text()); };
  bool any = false;
  bool all = true;
  for (const K& inner : key.keys()) {
    const bool one = matches(inner);
    any = any || one;
    all = all && one;
  }
  switch (key.kind()) {
    case K::KIND_ALL:
      return true;
    case K::KIND_AND:
      return all;
    case K::KIND_OR:
      return any;
    case K::KIND_NOT:
      return !any;
    case K::KIND_UIDS:
      return InRanges(key.uids(), uid);
    case K::KIND_FLAG:
      return (message.flags & key.flag()) != 0;
    case K::KIND_KEYWORD:
      return message.keywords.count(key.text()) > 0;
    case K::KIND_HEADER:
      return holds(HeaderOf(message.bytes)) && absl::StrContains(message.bytes, key.field() + ":");
    case K::KIND_BODY:
    case K::KIND_TEXT:
      return holds(message.bytes);
    case K::KIND_LARGER:
      return message.bytes.size() > static_cast<uint64_t>(key.number());
    case K::KIND_SMALLER:
      return message.bytes.size() < static_cast<uint64_t>(key.number());
    case K::KIND_MODSEQ:
      return message.modseq >= static_cast<uint64_t>(key.number());
    default:
      return false;
  }
}

Backend::Answer<mail::SearchResponse> FakeBackend::Search(Trace trace, mail::SearchRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("Search"));
  Box* box = ById(request.folder_id());
  if (box == nullptr) co_return absl::NotFoundError("no such folder");
  mail::SearchResponse response;
  for (const auto& [uid, message] : box->messages) {
    if (!Matches(*box, uid, message, request.key())) continue;
    AddUid(uid, response.mutable_uids());
    response.set_highest_modseq(std::max(response.highest_modseq(), message.modseq));
  }
  co_return response;
}

class FakeBackend::Fetching final : public FetchStream {
 public:
  explicit Fetching(std::deque<absl::StatusOr<mail::FetchResponse>> chunks) : chunks_(std::move(chunks)) {}
  Task<absl::StatusOr<std::optional<mail::FetchResponse>>> Read() override {
    if (chunks_.empty()) co_return std::optional<mail::FetchResponse>();
    absl::StatusOr<mail::FetchResponse> chunk = std::move(chunks_.front());
    chunks_.pop_front();
    if (!chunk.ok()) co_return chunk.status();
    co_return std::optional<mail::FetchResponse>(*std::move(chunk));
  }

 private:
  std::deque<absl::StatusOr<mail::FetchResponse>> chunks_;
};

std::unique_ptr<FetchStream> FakeBackend::Fetch(Trace trace, mail::FetchRequest request) {
  absl::MutexLock lock(&mutex_);
  std::deque<absl::StatusOr<mail::FetchResponse>> chunks;
  const absl::Status entered = Enter("Fetch");
  Box* box = ById(request.folder_id());
  if (!entered.ok() || box == nullptr) {
    chunks.push_back(entered.ok() ? absl::NotFoundError("no such folder") : entered);
    return std::make_unique<Fetching>(std::move(chunks));
  }
  if (request.vanished()) {
    mail::FetchResponse chunk;
    for (const auto& [modseq, uids] : box->vanished) {
      for (const uint32_t uid : uids) {
        if (modseq > request.changed_since() && InRanges(request.uids(), uid)) AddUid(uid, chunk.mutable_vanished());
      }
    }
    chunks.push_back(std::move(chunk));
  }
  for (auto& [uid, message] : box->messages) {
    if (!InRanges(request.uids(), uid)) continue;
    if (request.set_seen() && (message.flags & mail::FLAG_SEEN) == 0) {
      message.flags |= mail::FLAG_SEEN;
      message.modseq = ++box->modseq;
    }
    if (request.changed_since() != 0 && message.modseq <= request.changed_since()) continue;
    mail::FetchResponse chunk;
    mail::MessageRows& rows = *chunk.mutable_rows();
    AddRow(*box, uid, message, &rows);
    rows.add_internal_date(message.date);
    rows.add_internal_date_zone(message.zone);
    rows.add_size_bytes(message.bytes.size());
    rows.add_envelope("(NIL)");
    rows.add_body_structure("(\"TEXT\" \"PLAIN\" NIL)");
    rows.add_body("(\"TEXT\" \"PLAIN\")");
    // Pieces of at most 5,000 bytes, in chunks of their own.
    for (int s = 0; s < request.sections_size(); ++s) {
      std::string bytes;
      const bool there = SectionOf(message.bytes, request.sections(s), &bytes);
      size_t at = 0;
      do {
        mail::SectionPiece& piece = *chunk.add_pieces();
        piece.set_uid(uid);
        piece.set_section(static_cast<uint32_t>(s));
        piece.set_total_bytes(bytes.size());
        piece.set_nil(!there);
        piece.set_data(bytes.substr(at, 5000));
        at += 5000;
        piece.set_last(at >= bytes.size());
        if (at < bytes.size()) {
          chunks.push_back(std::move(chunk));
          chunk = mail::FetchResponse();
        }
      } while (at < bytes.size());
    }
    chunks.push_back(std::move(chunk));
  }
  if (request.set_seen()) Hint(*box);
  const absl::Status broken = Enter("FetchEnd");
  if (!broken.ok() && !chunks.empty()) {
    chunks.pop_back();
    chunks.push_back(broken);
  }
  return std::make_unique<Fetching>(std::move(chunks));
}

// ---- changing

class FakeBackend::Appending final : public AppendStream {
 public:
  explicit Appending(FakeBackend* fake) : fake_(fake) {}
  Task<absl::Status> Write(mail::AppendRequest request) override {
    absl::MutexLock lock(&fake_->mutex_);
    if (!failed_.ok()) co_return absl::UnavailableError("the call ended");
    failed_ = fake_->Enter("AppendWrite");
    if (!failed_.ok()) co_return absl::UnavailableError("the call ended");
    if (request.has_header()) {
      header_ = request.header();
      bytes_ = header_.data();
      committed_ = header_.commit();
    } else if (request.has_data()) {
      bytes_ += request.data();
    } else {
      committed_ = request.commit().size_bytes() == bytes_.size();
    }
    co_return absl::OkStatus();
  }
  Task<absl::StatusOr<mail::AppendResponse>> Finish() override {
    absl::MutexLock lock(&fake_->mutex_);
    PH_CO_RETURN_IF_ERROR(failed_);
    PH_CO_RETURN_IF_ERROR(fake_->Enter("Append"));
    Box* box = fake_->ById(header_.folder_id());
    if (box == nullptr) co_return absl::NotFoundError("no such folder");
    if (!committed_) co_return absl::CancelledError("not committed");
    Message message;
    message.bytes = bytes_;
    message.flags = header_.flags();
    message.keywords.insert(header_.keywords().begin(), header_.keywords().end());
    message.date = header_.internal_date().seconds();
    message.zone = header_.internal_date_zone();
    mail::AppendResponse response;
    response.set_uid(fake_->AddMessage(*box, std::move(message)));
    response.set_uid_validity(7);
    fake_->FillState(*box, response.mutable_state());
    co_return response;
  }

 private:
  FakeBackend* const fake_;
  mail::AppendRequest::Header header_;
  std::string bytes_;
  bool committed_ = false;
  absl::Status failed_;
};

std::unique_ptr<AppendStream> FakeBackend::Append(Trace trace, const AccountRef& account) {
  return std::make_unique<Appending>(this);
}

Backend::Answer<mail::StoreFlagsResponse> FakeBackend::StoreFlags(Trace trace, mail::StoreFlagsRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("StoreFlags"));
  Box* box = ById(request.folder_id());
  if (box == nullptr) co_return absl::NotFoundError("no such folder");
  mail::StoreFlagsResponse response;
  const uint64_t modseq = box->modseq + 1;  // one for the whole commit
  for (const std::string& keyword : request.keywords()) {
    if (request.mode() != mail::StoreFlagsRequest::MODE_REMOVE) AddKeyword(*box, keyword);
  }
  for (auto& [uid, message] : box->messages) {
    if (!InRanges(request.uids(), uid)) continue;
    if (request.has_unchanged_since() && message.modseq > request.unchanged_since()) {
      AddUid(uid, response.mutable_modified());
      continue;
    }
    const uint32_t flags = message.flags;
    const std::set<std::string> keywords = message.keywords;
    const bool remove = request.mode() == mail::StoreFlagsRequest::MODE_REMOVE;
    if (request.mode() == mail::StoreFlagsRequest::MODE_REPLACE) {
      message.flags = 0;
      message.keywords.clear();
    }
    message.flags = remove ? message.flags & ~request.flags() : message.flags | request.flags();
    for (const std::string& keyword : request.keywords()) {
      if (remove) {
        message.keywords.erase(keyword);
      } else {
        message.keywords.insert(keyword);
      }
    }
    if (message.flags != flags || message.keywords != keywords) {
      box->modseq = modseq;
      message.modseq = modseq;
    }
    AddRow(*box, uid, message, response.mutable_rows());
  }
  if (box->modseq == modseq) response.add_own_modseq(modseq);
  FillState(*box, response.mutable_state());
  Hint(*box);
  co_return response;
}

Backend::Answer<mail::ExpungeResponse> FakeBackend::Expunge(Trace trace, mail::ExpungeRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("Expunge"));
  Box* box = ById(request.folder_id());
  if (box == nullptr) co_return absl::NotFoundError("no such folder");
  mail::ExpungeResponse response;
  ++box->modseq;
  const std::map<uint32_t, Message> messages = box->messages;
  for (const auto& [uid, message] : messages) {
    if (!request.uids().empty() && !InRanges(request.uids(), uid)) continue;
    if (!request.even_undeleted() && (message.flags & mail::FLAG_DELETED) == 0) continue;
    Vanish(*box, uid);
    AddUid(uid, response.mutable_expunged());
  }
  FillState(*box, response.mutable_state());
  Hint(*box);
  co_return response;
}

Backend::Answer<mail::CopyResponse> FakeBackend::Copy(Trace trace, mail::CopyRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("Copy"));
  Box* from = ById(request.from_folder_id());
  Box* to = ById(request.to_folder_id());
  if (from == nullptr || to == nullptr) co_return absl::NotFoundError("no such folder");
  mail::CopyResponse response;
  response.set_uid_validity(7);
  const std::map<uint32_t, Message> messages = from->messages;
  if (request.move()) ++from->modseq;
  for (const auto& [uid, message] : messages) {
    if (!InRanges(request.uids(), uid)) continue;
    AddUid(uid, response.mutable_from_uids());
    AddUid(AddMessage(*to, message), response.mutable_to_uids());
    if (request.move()) Vanish(*from, uid);
  }
  FillState(*from, response.mutable_from_state());
  Hint(*from);
  co_return response;
}

Backend::Answer<mail::GetChangesResponse> FakeBackend::GetChanges(Trace trace, mail::GetChangesRequest request) {
  absl::MutexLock lock(&mutex_);
  PH_CO_RETURN_IF_ERROR(Enter("GetChanges"));
  Box* box = ById(request.folder_id());
  if (box == nullptr) co_return absl::NotFoundError("no such folder");
  mail::GetChangesResponse response;
  FillState(*box, response.mutable_state());
  response.set_full(request.after_modseq() < box->log_floor);
  for (const auto& [uid, message] : box->messages) {
    if (response.full() || message.modseq > request.after_modseq()) AddRow(*box, uid, message, response.mutable_rows());
  }
  std::set<uint32_t> vanished;
  for (const auto& [modseq, uids] : box->vanished) {
    if (modseq > request.after_modseq()) vanished.insert(uids.begin(), uids.end());
  }
  for (const uint32_t uid : vanished) AddUid(uid, response.mutable_vanished());
  co_return response;
}

Backend::Answer<mail::GetUsageResponse> FakeBackend::GetUsage(Trace trace, mail::GetUsageRequest request) {
  co_return mail::GetUsageResponse();
}

// ---- watching

struct FakeBackend::WatchState {
  absl::Mutex mutex;
  std::deque<mail::WatchResponse> waiting ABSL_GUARDED_BY(mutex);
  bool cancelled ABSL_GUARDED_BY(mutex) = false;
  Wakeup wakeup;
};

class FakeBackend::Watching final : public WatchStream {
 public:
  Watching(FakeBackend& fake, std::shared_ptr<WatchState> state) : fake_(fake), state_(std::move(state)) {}
  Task<absl::Status> Write(mail::WatchRequest request) override {
    fake_.Answer(*state_, request);
    co_return absl::OkStatus();
  }
  Task<absl::StatusOr<std::optional<mail::WatchResponse>>> Read() override {
    while (true) {
      {
        absl::MutexLock lock(&state_->mutex);
        if (state_->cancelled) co_return absl::CancelledError("cancelled");
        if (!state_->waiting.empty()) {
          mail::WatchResponse response = std::move(state_->waiting.front());
          state_->waiting.pop_front();
          co_return std::optional<mail::WatchResponse>(std::move(response));
        }
      }
      co_await state_->wakeup.WaitFor(absl::InfiniteDuration());
    }
  }
  void Cancel() override {
    {
      absl::MutexLock lock(&state_->mutex);
      state_->cancelled = true;
    }
    state_->wakeup.Signal();
  }

 private:
  FakeBackend& fake_;
  const std::shared_ptr<WatchState> state_;
};

void FakeBackend::Answer(WatchState& state, const mail::WatchRequest& request) {
  absl::MutexLock lock(&mutex_);
  if (!hints_) return;
  mail::WatchResponse response;
  for (const auto& add : request.add()) {
    const Box* box = ById(add.folder_id());
    if (box != nullptr && box->modseq <= add.known_modseq()) continue;
    auto* hint = response.add_hints();
    hint->set_account_id("acc1");
    hint->set_folder_id(add.folder_id());
    hint->set_highest_modseq(box == nullptr ? 0 : box->modseq);
  }
  {
    absl::MutexLock inner(&state.mutex);
    state.waiting.push_back(std::move(response));
  }
  state.wakeup.Signal();
}

std::unique_ptr<WatchStream> FakeBackend::Watch(const std::string& home) {
  absl::MutexLock lock(&mutex_);
  ++calls_["Watch"];
  auto state = std::make_shared<WatchState>();
  {
    absl::MutexLock inner(&state->mutex);
    state->waiting.emplace_back();  // a heartbeat at once
  }
  watchers_.push_back(state);
  return std::make_unique<Watching>(*this, std::move(state));
}

void FakeBackend::BreakWatch() {
  absl::MutexLock lock(&mutex_);
  for (const auto& weak : watchers_) {
    const std::shared_ptr<WatchState> state = weak.lock();
    if (state == nullptr) continue;
    {
      absl::MutexLock inner(&state->mutex);
      state->cancelled = true;
    }
    state->wakeup.Signal();
  }
  watchers_.clear();
}

void FakeBackend::Hint(const Box& box) {
  if (!hints_) return;
  for (const auto& weak : watchers_) {
    const std::shared_ptr<WatchState> state = weak.lock();
    if (state == nullptr) continue;
    mail::WatchResponse response;
    auto* hint = response.add_hints();
    hint->set_account_id("acc1");
    hint->set_folder_id(box.id);
    hint->set_highest_modseq(box.modseq);
    {
      absl::MutexLock inner(&state->mutex);
      state->waiting.push_back(std::move(response));
    }
    state->wakeup.Signal();
  }
}

}  // namespace posthouse::gateway
