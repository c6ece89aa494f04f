#include "services/mail_formats/message/part_table.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"

namespace posthouse::message {
namespace {

std::string Crlf(absl::string_view text) { return absl::StrReplaceAll(text, {{"\n", "\r\n"}}); }

// "1.2.HEADER", "TEXT", "" -> the bytes; "NIL" when there are none.
std::string Section(const std::string& bytes, absl::string_view spec) {
  // Through the stored form, as FETCH does it.
  absl::StatusOr<PartTable> table = PartTable::Parse(PartTable::Build(Parse(bytes)).Serialize());
  EXPECT_TRUE(table.ok()) << table.status();
  std::vector<uint32_t> path;
  SectionKind kind = SectionKind::kAll;
  for (const absl::string_view word : absl::StrSplit(spec, '.', absl::SkipEmpty())) {
    uint32_t number = 0;
    if (absl::SimpleAtoi(word, &number)) {
      path.push_back(number);
    } else {
      kind = word == "HEADER" ? SectionKind::kHeader : word == "TEXT" ? SectionKind::kText : SectionKind::kMime;
    }
  }
  const auto range = table->Resolve(path, kind);
  if (!range) return "NIL";
  return absl::StrReplaceAll(bytes.substr(range->bytes.begin, range->bytes.size()), {{"\r\n", "$"}});
}

// The shape of RFC 9051 §6.4.5.1's example: parts 1, 2, 3 (a message with 3.1 and
// 3.2) and 4 (a multipart with 4.1, a single-part message 4.2).
const std::string kExample = Crlf(
    "Subject: top\nContent-Type: multipart/mixed; boundary=A\n\npre\n--A\nX: 1\n\none\n--A\nContent-Type: "
    "application/x\n\ntwo\n"
    "--A\nContent-Type: message/rfc822\n\nSubject: three\nContent-Type: multipart/mixed; boundary=B\n\n--B\nX: "
    "31\n\nt1\n--B\n\nt2\n--B--\n\n"
    "--A\nContent-Type: multipart/mixed; boundary=C\n\n--C\n\nf1\n--C\nContent-Type: message/rfc822\n\nSubject: "
    "ft\n\nf2\n--C--\n\n--A--\nend\n");

TEST(PartTableTest, SectionsOfTheRfcExample) {
  const std::pair<const char*, const char*> kCases[] = {
      {"HEADER", "Subject: top$Content-Type: multipart/mixed; boundary=A$$"},
      {"1", "one"},
      {"1.MIME", "X: 1$$"},
      {"1.HEADER", "NIL"},
      {"1.TEXT", "NIL"},
      {"1.1", "NIL"},
      {"2", "two"},
      {"3", "Subject: three$Content-Type: multipart/mixed; boundary=B$$--B$X: 31$$t1$--B$$t2$--B--$"},
      {"3.HEADER", "Subject: three$Content-Type: multipart/mixed; boundary=B$$"},
      {"3.TEXT", "--B$X: 31$$t1$--B$$t2$--B--$"},
      {"3.MIME", "Content-Type: message/rfc822$$"},
      {"3.1", "t1"},
      {"3.1.MIME", "X: 31$$"},
      {"3.2", "t2"},
      {"3.3", "NIL"},
      {"4", "--C$$f1$--C$Content-Type: message/rfc822$$Subject: ft$$f2$--C--$"},
      {"4.HEADER", "NIL"},
      {"4.MIME", "Content-Type: multipart/mixed; boundary=C$$"},
      {"4.1", "f1"},
      {"4.2", "Subject: ft$$f2"},
      {"4.2.HEADER", "Subject: ft$$"},
      {"4.2.TEXT", "f2"},
      {"4.2.1", "f2"},
      {"4.2.1.MIME", "Subject: ft$$"},
      {"4.2.2", "NIL"},
      {"4.2.1.1", "NIL"},
      {"5", "NIL"},
      {"0", "NIL"},
      {"MIME", "NIL"},
  };
  for (const auto& [spec, want] : kCases) EXPECT_EQ(Section(kExample, spec), want) << spec;
  EXPECT_EQ(Section(kExample, ""), absl::StrReplaceAll(kExample, {{"\r\n", "$"}}));
}

TEST(PartTableTest, SinglePartMessageIsPartOne) {
  const std::string bytes = "Subject: x\r\n\r\nbody";
  EXPECT_EQ(Section(bytes, "1"), "body");
  EXPECT_EQ(Section(bytes, "TEXT"), "body");
  EXPECT_EQ(Section(bytes, "1.MIME"), "Subject: x$$");
  EXPECT_EQ(Section(bytes, "1.1"), "NIL");
  EXPECT_EQ(Section(bytes, "2"), "NIL");
  EXPECT_EQ(Section(bytes, "1.HEADER"), "NIL");
}

TEST(PartTableTest, RootIsAMessageInAMessage) {
  const std::string bytes = "Content-Type: message/rfc822\r\n\r\nSubject: x\r\n\r\nbody";
  EXPECT_EQ(Section(bytes, "1"), "Subject: x$$body");
  EXPECT_EQ(Section(bytes, "1.HEADER"), "Subject: x$$");
  EXPECT_EQ(Section(bytes, "1.TEXT"), "body");
  EXPECT_EQ(Section(bytes, "1.1"), "body");
}

TEST(PartTableTest, EmptyMultipartHasOneEmptyPart) {
  const std::string bytes = "Content-Type: multipart/mixed; boundary=A\r\n\r\nnothing";
  EXPECT_EQ(Section(bytes, "1"), "");
  EXPECT_EQ(Section(bytes, "1.MIME"), "");
  EXPECT_EQ(Section(bytes, "1.TEXT"), "NIL");
  EXPECT_EQ(Section(bytes, "1.1"), "NIL");
  EXPECT_EQ(Section(bytes, "2"), "NIL");
}

TEST(PartTableTest, KeepsWhatSearchNeeds) {
  const Message m = Parse(
      "Content-Type: text/html; charset=KOI8-R\r\nContent-Transfer-Encoding: base64\r\nContent-Disposition: "
      "attachment\r\n\r\nx");
  const auto table = PartTable::Parse(PartTable::Build(m).Serialize());
  ASSERT_TRUE(table.ok());
  const PartTable::Entry& entry = table->entries()[0];
  EXPECT_EQ(entry.charset, "koi8-r");
  EXPECT_EQ(entry.encoding, Encoding::kBase64);
  EXPECT_TRUE(entry.html);
  EXPECT_TRUE(entry.attachment);
  EXPECT_EQ(table->Resolve({1}, SectionKind::kAll)->encoding, Encoding::kBase64);
  EXPECT_EQ(table->Resolve({}, SectionKind::kText)->encoding, Encoding::kIdentity);
}

// The stored form is on disks: these bytes never change their meaning.
TEST(PartTableTest, GoldenBytes) {
  EXPECT_EQ(PartTable::Build(Parse("A: b\r\n\r\nbody")).Serialize(),
            std::string("\x01\x0c\x01\x00\x01\x00\x08\x04\x00", 9));
}

TEST(PartTableTest, DamagedBytesAreDataLoss) {
  const std::string good = PartTable::Build(Parse(kExample)).Serialize();
  for (size_t i = 0; i < good.size(); ++i) {
    EXPECT_EQ(PartTable::Parse(good.substr(0, i)).status().code(), absl::StatusCode::kDataLoss) << i;
  }
  EXPECT_FALSE(PartTable::Parse(good + "x").ok());
  std::string version = good;
  version[0] = 2;
  EXPECT_FALSE(PartTable::Parse(version).ok());
  for (size_t i = 0; i < good.size(); ++i) {
    for (int bit = 0; bit < 8; ++bit) {
      std::string flipped = good;
      flipped[i] = static_cast<char>(flipped[i] ^ (1 << bit));
      const auto table = PartTable::Parse(flipped);
      if (!table.ok()) continue;
      // The part stays inside the message, whatever its numbers are.
      for (const PartTable::Entry& entry : table->entries()) EXPECT_LE(entry.body_end, table->message_bytes());
      table->Resolve({3, 1}, SectionKind::kText);
    }
  }
}

// RFC 2046 §5.1.1: the line end before a delimiter belongs to it.
TEST(PartTableTest, AnEmptyPartHasNoBlankLine) {
  const auto mime = [](absl::string_view part) {
    const std::string bytes =
        absl::StrCat("Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n", part, "--b--\r\n");
    const ByteRange range = PartTable::Build(Parse(bytes)).Resolve({1}, SectionKind::kMime)->bytes;
    const ByteRange body = PartTable::Build(Parse(bytes)).Resolve({1}, SectionKind::kAll)->bytes;
    EXPECT_EQ(body.size(), 0u) << part;
    return bytes.substr(range.begin, range.size());
  };
  EXPECT_EQ(mime("Content-Type: text/plain\r\n\r\n"), "Content-Type: text/plain\r\n");
  EXPECT_EQ(mime("\r\n"), "");
  EXPECT_EQ(mime("Content-Type: text/plain\r\n\r\n\r\n"), "Content-Type: text/plain\r\n\r\n");
  EXPECT_EQ(mime("Content-Type: text/plain\r\n"), "Content-Type: text/plain\r\n");
  // The empty line after the header of the multipart itself is no delimiter's.
  const std::string bytes = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n";
  EXPECT_EQ(PartTable::Build(Parse(bytes)).Resolve({}, SectionKind::kHeader)->bytes, (ByteRange{0, 45}));
}

std::string Filter(absl::string_view header, std::vector<std::string> names, bool except) {
  std::string whole;
  for (const size_t step : {size_t{1}, size_t{5}, header.size() + 1}) {
    HeaderFilter filter(names, except);
    std::string out;
    for (size_t i = 0; i < header.size(); i += step) filter.Feed(header.substr(i, step), &out);
    filter.Finish(&out);
    if (step != 1) EXPECT_EQ(out, whole);
    whole = out;
  }
  return whole;
}

// RFC 9051 §6.4.5.1
TEST(HeaderFilterTest, PassesTheNamedFields) {
  const std::string header = "A: 1\r\nB: 2\r\n fold: x\r\nno colon\r\na : 3\r\n\r\n";
  EXPECT_EQ(Filter(header, {"A"}, false), "A: 1\r\na : 3\r\n\r\n");
  EXPECT_EQ(Filter(header, {"b", "x"}, false), "B: 2\r\n fold: x\r\n\r\n");
  EXPECT_EQ(Filter(header, {"fold"}, false), "\r\n");
  EXPECT_EQ(Filter(header, {"a"}, true), "B: 2\r\n fold: x\r\nno colon\r\n\r\n");
  EXPECT_EQ(Filter(header, {}, false), "\r\n");
  EXPECT_EQ(Filter(header, {}, true), header);
  EXPECT_EQ(Filter("", {"a"}, false), "\r\n");
  EXPECT_EQ(Filter("A: 1", {"a"}, false), "A: 1\r\n\r\n");  // no line end, no blank line
  EXPECT_EQ(Filter("A: 1\nB: 2\n\n", {"a"}, false), "A: 1\n\n");
  // RFC 3501 §6.4.5: no blank line when the message has none; HEADER.FIELDS ends with one all the same.
  EXPECT_EQ(Filter("half", {"a"}, true), "half");
  EXPECT_EQ(Filter("A: 1\r\nB: 2\r\n", {"a"}, true), "B: 2\r\n");
  EXPECT_EQ(Filter("A: 1\r\nB: 2\r\n", {"a"}, false), "A: 1\r\n\r\n");
  EXPECT_EQ(Filter(std::string(5000, 'x') + ": 1\r\nA: 2\r\n\r\n", {"a"}, false), "A: 2\r\n\r\n");
}

}  // namespace
}  // namespace posthouse::message
