#include "services/mail_formats/message/address_list.h"

#include <gtest/gtest.h>

#include <string>

#include "absl/strings/str_cat.h"

namespace posthouse::message {
namespace {

// name|route|mailbox|host with "-" for no name and "!" when broken; "G:name{" and "}".
std::string Show(absl::string_view raw) {
  std::string out;
  for (const Address& a : ParseAddresses(raw)) {
    if (!out.empty()) out += " ; ";
    switch (a.kind) {
      case Address::Kind::kGroupStart:
        absl::StrAppend(&out, "G:", a.mailbox, "{");
        break;
      case Address::Kind::kGroupEnd:
        out += "}";
        break;
      case Address::Kind::kMailbox:
        absl::StrAppend(&out, a.has_name ? a.name : "-", "|", a.route, "|", a.mailbox, "|", a.host,
                        a.broken ? "!" : "");
    }
  }
  return out;
}

TEST(AddressTest, Rfc5322) {
  const std::pair<const char*, const char*> kCases[] = {
      {"a@b.example", "-||a|b.example"},
      {"<a@b.example>", "-||a|b.example"},
      {"Joe <a@b.example>", "Joe||a|b.example"},
      {"Joe Q. Public <john.q.public@example.com>", "Joe Q. Public||john.q.public|example.com"},
      {"\"Joe, Jr.\" <a@b>, c@d", "Joe, Jr.||a|b ; -||c|d"},
      {"\"Giant; \\\"Big\\\" Box\" <a@b>", "Giant; \"Big\" Box||a|b"},
      {"a@b (Joe Public)", "Joe Public||a|b"},
      {"a@b (Joe (the) Public)", "Joe (the) Public||a|b"},
      {"Pete(A nice \\) chap) <pete(his account)@silly.test(his host)>", "Pete||pete|silly.test"},
      {"<@r1.example,@r2.example:a@b>", "-|@r1.example,@r2.example|a|b"},
      {"A Group:Chris Jones <c@a.test>,joe@where.test;", "G:A Group{ ; Chris Jones||c|a.test ; -||joe|where.test ; }"},
      {"Undisclosed recipients:;", "G:Undisclosed recipients{ ; }"},
      {"\"a b\"@c", "-||a b|c"},
      {"<\"a b\"@c>", "-||a b|c"},
      {"john . doe @ example . com", "-||john.doe|example.com"},
      {"a@[192.0.2.1]", "-||a|[192.0.2.1]"},
      {"<a@[IPv6:2001:db8::1]>", "-||a|[IPv6:2001:db8::1]"},
      {"", ""},
      {" , ,", ""},
      {"a@b,\r\n c@d", "-||a|b ; -||c|d"},
      {"=?utf-8?q?J=C3=B6rg?= <j@x>", "=?utf-8?q?J=C3=B6rg?=||j|x"},
  };
  for (const auto& [in, out] : kCases) EXPECT_EQ(Show(in), out) << in;
}

TEST(AddressTest, RealLife) {
  const std::pair<const char*, const char*> kCases[] = {
      {"root", "-||root|!"},
      {"<root>", "-||root|!"},
      {"<>", "-|||!"},
      {"MAILER DAEMON <>", "MAILER DAEMON|||!"},
      {"undisclosed recipients", "undisclosed recipients|||!"},
      {"A <a@b> B <c@d>", "A||a|b ; B||c|d"},
      {"a@b; c@d", "-||a|b ; -||c|d"},
      {"<a@b, <c@d>", "-||a|b ; -||c|d"},
      {"\"Joe <a@b>", "Joe||a|b"},
      {"Joe\" <a@b>", "Joe||a|b"},
      {"John Doe a@b", "John Doe||a|b"},
      {"foo@bar <a@b>", "foo@bar||a|b"},
      {"<<a@b>>", "-||a|b"},
      {"<a@b@c>", "-||a@b|c!"},
      {"a@b@c", "-||a@b|c!"},
      {"Joe (never ends <a@b>", "never ends <a@b>||Joe|!"},
      {"A: B: c@d;", "G:A{ ; B:||c|d ; }"},
      {"A: c@d", "G:A{ ; -||c|d ; }"},
      {"J\xc3\xb6rg <j@x>", "J\xc3\xb6rg||j|x"},
      {"<a@b", "-||a|b"},
      {":", "-||:|!"},
      {"@", "-|||!"},
      {"a@", "-||a|!"},
      {"a) b@c)", "a||b|c"},
  };
  for (const auto& [in, out] : kCases) EXPECT_EQ(Show(in), out) << in;
}

TEST(AddressTest, HostileInputIsBoundedAndQuick) {
  EXPECT_EQ(ParseAddresses(std::string(200000, '(')).size(), 0u);
  EXPECT_EQ(ParseAddresses(std::string(200000, '"')).size(), 1u);
  std::string many;
  for (int i = 0; i < 5000; ++i) many += "a@b,";
  EXPECT_EQ(ParseAddresses(many, 100).size(), 100u);
  std::string open = "G:" + many;
  EXPECT_EQ(ParseAddresses(open, 100).back().kind, Address::Kind::kGroupEnd);
}

}  // namespace
}  // namespace posthouse::message
