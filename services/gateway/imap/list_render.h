// LIST, LSUB and STATUS: their responses, from the folders of the account. No I/O.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "services/mail_formats/imap/command.h"

namespace posthouse::mailbox::v1 {
class Folder;
class ListFoldersResponse;
}  // namespace posthouse::mailbox::v1

namespace posthouse::gateway {

namespace mail = ::posthouse::mailbox::v1;

// `append_limit` is the value of the STATUS item APPENDLIMIT, in bytes (RFC 7889 §4).

// Lines of LIST (RFC 9051 §6.3.9, RFC 5258, 5819, 6154) by name. With RETURN (STATUS ...) a
// STATUS line follows each selectable mailbox.
std::vector<std::string> RenderList(const mail::ListFoldersResponse& folders, const imap::ListArgs& args,
                                    uint64_t append_limit);
// Lines of LSUB (RFC 3501 §6.3.9).
std::vector<std::string> RenderLsub(const mail::ListFoldersResponse& folders, const imap::ListArgs& args);
// "* STATUS name (...)". `folder` has its state.
std::string RenderStatus(const mail::Folder& folder, uint32_t items, uint64_t append_limit);

}  // namespace posthouse::gateway
