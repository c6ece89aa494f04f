// LIST, LSUB and STATUS: the answers, from the account's folders. Pure: no I/O.
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

struct ListStyle {
  bool utf8 = false;
  uint64_t append_limit = 0;
};

// Lines of LIST (RFC 9051 §6.3.9, RFC 5258, 5819, 6154), in the folders' order;
// with RETURN (STATUS ...) each selectable one is followed by its STATUS line.
std::vector<std::string> RenderList(const mail::ListFoldersResponse& folders, const imap::ListArgs& args,
                                    const ListStyle& style);
// Lines of LSUB (RFC 3501 §6.3.9).
std::vector<std::string> RenderLsub(const mail::ListFoldersResponse& folders, const imap::ListArgs& args,
                                    const ListStyle& style);
// "* STATUS name (...)". `folder` has its state.
std::string RenderStatus(const mail::Folder& folder, uint32_t items, const ListStyle& style);

}  // namespace posthouse::gateway
