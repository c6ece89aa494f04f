#include "services/mail_formats/imap/command.h"

namespace posthouse::imap {
namespace {

// list-select-opts = "(" [ list-select-option *(SP list-select-option) ] ")"
void ParseSelectionOptions(Scanner& scanner, ListArgs* args) {
  scanner.Open();
  if (scanner.SkipClose()) return;
  do {
    const std::string option = scanner.UpperAtom();
    if (option == "SUBSCRIBED") {
      args->select_subscribed = true;
    } else if (option == "REMOTE") {
      args->select_remote = true;
    } else if (option == "RECURSIVEMATCH") {
      args->select_recursive_match = true;
    } else if (option == "SPECIAL-USE") {
      args->select_special_use = true;
    } else {
      scanner.Fail("unknown LIST selection option");
    }
  } while (scanner.More());
  scanner.Close();
  // RFC 5258 §3: RECURSIVEMATCH needs an option that selects by something else.
  if (args->select_recursive_match && !args->select_subscribed && !args->select_special_use) {
    scanner.Fail("RECURSIVEMATCH alone is not allowed");
  }
}

// list-return-opts = "RETURN" SP "(" [return-option *(SP return-option)] ")"
void ParseReturnOptions(Scanner& scanner, ListArgs* args) {
  if (!scanner.SkipWord("RETURN")) {
    scanner.Fail("expected RETURN");
    return;
  }
  scanner.Space();
  scanner.Open();
  if (scanner.SkipClose()) return;
  do {
    const std::string option = scanner.UpperAtom();
    if (option == "SUBSCRIBED") {
      args->return_subscribed = true;
    } else if (option == "CHILDREN") {
      args->return_children = true;
    } else if (option == "SPECIAL-USE") {
      args->return_special_use = true;
    } else if (option == "STATUS") {
      scanner.Space();
      args->return_status = ParseStatusItems(scanner);
    } else {
      scanner.Fail("unknown LIST return option");
    }
  } while (scanner.More());
  scanner.Close();
}

}  // namespace

// RFC 5258 §6: list = "LIST" [SP list-select-opts] SP mailbox SP mbox-or-pat [SP list-return-opts]
ListArgs ParseList(Scanner& scanner) {
  ListArgs args;
  scanner.Space();
  if (scanner.Peek() == '(') {
    args.extended = true;
    ParseSelectionOptions(scanner, &args);
    scanner.Space();
  }
  args.reference = scanner.AString();
  scanner.Space();
  if (scanner.SkipOpen()) {
    args.extended = true;
    do {
      args.patterns.push_back(scanner.ListMailbox());
    } while (scanner.More());
    scanner.Close();
  } else {
    args.patterns.push_back(scanner.ListMailbox());
  }
  if (scanner.More()) {
    args.extended = true;
    ParseReturnOptions(scanner, &args);
  }
  return args;
}

ListArgs ParseLsub(Scanner& scanner) {
  ListArgs args;
  scanner.Space();
  args.reference = scanner.AString();
  scanner.Space();
  args.patterns.push_back(scanner.ListMailbox());
  args.select_subscribed = true;
  return args;
}

}  // namespace posthouse::imap
