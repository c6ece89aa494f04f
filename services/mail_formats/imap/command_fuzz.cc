// Feeds bytes to the reader in pieces and parses every command it finds. The
// first byte chooses the size of the pieces. Checks what must hold for any input.
#include <cstddef>
#include <cstdint>
#include <cstdlib>

#include "services/mail_formats/imap/command.h"
#include "services/mail_formats/imap/command_reader.h"
#include "services/mail_formats/imap/mailbox_name.h"
#include "services/mail_formats/imap/response.h"

namespace {

using posthouse::imap::CommandReader;
constexpr size_t kMaxBytes = 4096;

void Check(bool holds) {
  if (!holds) std::abort();
}

void Parse(const std::string& text) {
  Check(text.size() <= kMaxBytes + 64);
  const auto command = posthouse::imap::ParseCommand(text);
  if (!command.ok()) return;
  if (const auto* list = std::get_if<posthouse::imap::ListArgs>(&command->args)) {
    for (const std::string& pattern : list->patterns) {
      (void)posthouse::imap::ListPattern(list->reference, pattern, false).Matches("INBOX/x");
    }
  }
  if (const auto* mailbox = std::get_if<posthouse::imap::MailboxArgs>(&command->args)) {
    const auto name = posthouse::imap::DecodeMailboxName(mailbox->mailbox, false);
    if (!name.has_value()) return;
    // A name we keep reads back as itself.
    const auto again = posthouse::imap::DecodeMailboxName(posthouse::imap::EncodeModifiedUtf7(*name), false);
    Check(again == name);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  if (size == 0) return 0;
  const size_t step = data[0] % 64 + 1;
  CommandReader reader(kMaxBytes);
  size_t at = 1;
  size_t events = 0;
  while (true) {
    switch (reader.Next()) {
      case CommandReader::Event::kNeedInput: {
        if (at >= size) return 0;
        const size_t take = step < size - at ? step : size - at;
        reader.Feed(std::string(reinterpret_cast<const char*>(data) + at, take));
        at += take;
        continue;
      }
      case CommandReader::Event::kCommand:
        Parse(reader.text());
        break;
      case CommandReader::Event::kMessage:
        Parse(reader.text());
        if (data[0] & 64) {
          reader.RefuseMessage();
        } else {
          reader.AcceptMessage();
          while (reader.message_bytes() > 0) {
            if (!reader.TakeMessage(7).empty()) continue;
            if (at >= size) return 0;
            reader.Feed(std::string(reinterpret_cast<const char*>(data) + at++, 1));
          }
        }
        break;
      case CommandReader::Event::kRefused:
        Check(!reader.tag().empty());
        break;
      case CommandReader::Event::kContinue:
        break;
    }
    Check(++events <= 2 * size + 2);
  }
}
