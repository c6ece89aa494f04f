#include "services/mail_formats/message/downgrade.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/str_split.h"
#include "services/common/utf8/utf8.h"
#include "services/mail_formats/message/fields.h"
#include "services/mail_formats/message/header_downgrade.h"
#include "services/mail_formats/message/transfer.h"
#include "services/mail_formats/message/transfer_encoder.h"

namespace posthouse::message {
namespace {

std::string Convert(absl::string_view bytes, bool eight_bit = false, size_t step = 1 << 20) {
  DowngradePlan plan(Parse(bytes), eight_bit);
  for (size_t at = 0; at < bytes.size(); at += step) plan.Feed(bytes.substr(at, step));
  plan.Finish();
  std::string out;
  Downgrader downgrader(plan);
  for (size_t at = 0; at < bytes.size(); at += step) downgrader.Feed(bytes.substr(at, step), &out);
  downgrader.Finish(&out);
  return out;
}

bool Fits(absl::string_view bytes, bool eight_bit = false) {
  LineScan scan;
  scan.Feed(bytes);
  return scan.FitsInto(eight_bit);
}

// The decoded bodies of all leaf parts.
std::vector<std::string> Bodies(absl::string_view bytes) {
  std::vector<std::string> bodies;
  const Message message = Parse(bytes);
  for (const Part& part : message.parts) {
    if (part.kind == Part::Kind::kMultipart || part.kind == Part::Kind::kMessage) continue;
    bodies.push_back(DecodeTransfer(part.encoding, bytes.substr(part.body_start, part.body_end - part.body_start)));
  }
  return bodies;
}

TEST(LineScanTest, TellsWhatAHostMustTake) {
  EXPECT_TRUE(Fits("a\r\nb"));
  EXPECT_TRUE(Fits(std::string(998, 'x') + "\r\n" + std::string(998, 'x') + "\n"));
  EXPECT_FALSE(Fits(std::string(999, 'x') + "\r\n", true));
  EXPECT_FALSE(Fits("a\r\n" + std::string(999, 'x'), true));
  EXPECT_FALSE(Fits("\xc3\xbc"));
  EXPECT_TRUE(Fits("\xc3\xbc", true));
  LineScan scan;
  scan.Feed(std::string(998, 'x') + "\r");
  scan.Feed("\n");
  EXPECT_FALSE(scan.long_lines());
}

// RFC 6152 §3
TEST(DowngradeTest, AnEightBitTextBecomesQuotedPrintable) {
  EXPECT_EQ(Convert("Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
                    "Content-Transfer-Encoding: 8bit\r\nX-Last: y\r\n\r\ngr\xc3\xbc\xc3\x9f"
                    "e = \r\n.\r\n"),
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nX-Last: y\r\n"
            "Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BC=C3=9Fe =3D=20\r\n.\r\n");
}

TEST(DowngradeTest, AMessageThatFitsStaysByteForByte) {
  const std::string ascii =
      "Subject: x\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\npre\r\n--b\r\n\r\none\r\n--b\r\n"
      "Content-Transfer-Encoding: base64\r\n\r\nYQ==\r\n--b--\r\npost\r\n";
  EXPECT_EQ(Convert(ascii), ascii);
  EXPECT_EQ(Convert("Subject: \xc3\xbc\r\n\r\n\xc3\xbc\r\n", true), "Subject: \xc3\xbc\r\n\r\n\xc3\xbc\r\n");
}

// Mail of programs that never heard of MIME.
TEST(DowngradeTest, ATextWithoutMimeGetsATypeAndAVersion) {
  EXPECT_EQ(Convert("Subject: x\r\n\r\n\xc3\xbc\r\n"),
            "Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=BC\r\n");
  EXPECT_TRUE(absl::StrContains(Convert("Subject: x\r\n\r\nabc abc \xfc\r\n"), "charset=unknown-8bit\r\n"));
  EXPECT_TRUE(absl::StrContains(Convert("\r\nabc abc \xfc\r\n"), "quoted-printable\r\n\r\nabc abc =FC\r\n"));
}

TEST(DowngradeTest, ATextOfMostlyEightBitAndOtherTypesBecomeBase64) {
  std::string cyrillic;
  for (int i = 0; i < 300; ++i) cyrillic += "\xd0\x9f\xd1\x80\r\n";
  const std::string text = "Content-Type: text/plain; charset=utf-8\r\nMIME-Version: 1.0\r\n\r\n" + cyrillic;
  const std::string image = "Content-Type: image/x\r\nContent-Transfer-Encoding: 8bit\r\n\r\nabcdefghij\xff\r\n";
  for (const std::string& message : {text, image}) {
    const std::string out = Convert(message);
    EXPECT_TRUE(absl::StrContains(out, "Content-Transfer-Encoding: base64\r\n")) << out;
    EXPECT_TRUE(Fits(out)) << out;
    EXPECT_EQ(Bodies(out), Bodies(message));
  }
}

TEST(DowngradeTest, EachPartIsEncodedForItself) {
  const std::string message =
      "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=out\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
      "pre\xc3\xbc\r\n--out\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
      "\xc3\xbc"
      "ber\r\n--out\r\nContent-Type: text/plain\r\n\r\nascii\r\n"
      "--out\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
      "Subject: \xc3\xbc\r\n\r\n\xc3\xb6\r\n--out--\r\npost\xff\r\n";
  const std::string out = Convert(message);
  EXPECT_EQ(out,
            "MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=out\r\n"
            "Content-Transfer-Encoding: 7bit\r\n\r\n"
            "pre??\r\n--out\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n"
            "=C3=BCber\r\n--out\r\nContent-Type: text/plain\r\n\r\nascii\r\n"
            "--out\r\nContent-Type: message/rfc822\r\nContent-Transfer-Encoding: 7bit\r\n\r\n"
            "Subject: =?utf-8?B?w7w=?=\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n"
            "Content-Transfer-Encoding: quoted-printable\r\n\r\n=C3=B6\r\n--out--\r\npost?\r\n");
  for (const size_t step : {1, 2, 7, 100}) EXPECT_EQ(Convert(message, false, step), out);
}

// RFC 1847 §2.1: who changes a signed part breaks its signature.
TEST(DowngradeTest, ASignedPartStaysAsItIs) {
  const std::string body =
      "--s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n\xc3\xbc\r\n"
      "--s\r\nContent-Type: application/pgp-signature\r\n\r\nsig\r\n--s--\r\n";
  const std::string message =
      "Content-Type: multipart/signed; boundary=s\r\nContent-Transfer-Encoding: 8bit\r\nMIME-Version: 1.0\r\n\r\n" +
      body;
  EXPECT_EQ(Convert(message), message);
  const std::string outer =
      "Content-Type: multipart/mixed; boundary=o\r\nContent-Transfer-Encoding: 8bit\r\n\r\n--o\r\n" + message +
      "\r\n--o\r\nContent-Type: text/plain; charset=utf-8\r\n\r\nabcdefg\xc3\xbc\r\n--o--\r\n";
  const std::string out = Convert(outer);
  EXPECT_TRUE(absl::StrContains(out, message)) << out;
  EXPECT_TRUE(absl::StrContains(out, "abcdefg=C3=BC\r\n--o--")) << out;
  // The whole is still 8bit, so it says so.
  EXPECT_TRUE(
      absl::StartsWith(out, "Content-Type: multipart/mixed; boundary=o\r\nContent-Transfer-Encoding: 8bit\r\n"));
}

// RFC 6376 §5.3: a signer encodes to 7 bits before it signs. One that did not has a signature that is broken on the
// way, which counts as none (§6.1). A bounce would tell the sender no more, and the field stays as evidence.
TEST(DowngradeTest, ADkimSignatureDoesNotStopTheConversion) {
  const std::string signature =
      "DKIM-Signature: v=1; a=ed25519-sha256; d=example.org; s=x; c=relaxed/relaxed;\r\n"
      "\th=from:subject; bh=TG9yZW0gaXBzdW0=; b=ZG9sb3Igc2l0\r\n";
  const std::string rest = "From: a@example.org\r\nMIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\n";
  const std::string message = signature + rest + "Content-Transfer-Encoding: 8bit\r\n\r\ngr\xc3\xbcn\r\n";
  EXPECT_EQ(Convert(message), signature + rest + "Content-Transfer-Encoding: quoted-printable\r\n\r\ngr=C3=BCn\r\n");
  EXPECT_EQ(Convert(message, /*eight_bit=*/true), message);  // and it verifies at a host with 8BITMIME
}

// RFC 5322 §2.1.1, RFC 5321 §4.5.3.1.6
TEST(DowngradeTest, ALongLineIsEncodedAlsoForAnEightBitHost) {
  const std::string message = "Subject: x\r\n\r\n" + std::string(5000, 'z') + "\r\nshort\r\n";
  for (const bool eight_bit : {false, true}) {
    const std::string out = Convert(message, eight_bit);
    EXPECT_TRUE(Fits(out)) << out;
    EXPECT_EQ(Bodies(out), Bodies(message));
    EXPECT_FALSE(absl::StrContains(out, "unknown-8bit"));
  }
  // A line that is long inside a part must not begin a line like its delimiter.
  const std::string tricky = "Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n" + std::string(75, 'x') +
                             "--b--" + std::string(1000, 'y') + "\r\n--b--\r\n";
  EXPECT_TRUE(Fits(Convert(tricky)));
  EXPECT_EQ(Bodies(Convert(tricky)), Bodies(tricky));
}

TEST(DowngradeTest, ABadlyEncodedBodyIsWrittenProperly) {
  const std::string base64 = "Content-Transfer-Encoding: base64\r\n\r\n" + std::string(4000, 'Q') + "\r\n";
  const std::string quoted =
      "Content-Transfer-Encoding: quoted-printable\r\n\r\na=3Db\xc3\xbc=\r\nc \r\n" + std::string(2000, 'x') + "=\r\n";
  for (const std::string& message : {base64, quoted}) {
    const std::string out = Convert(message);
    EXPECT_TRUE(Fits(out)) << out;
    EXPECT_EQ(Bodies(out), Bodies(message));
  }
}

TEST(DowngradeTest, HeaderFieldsAreEncodedWhereTheyCanBe) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {"Subject: gr\xc3\xbc\xc3\x9f"
       "e an alle",
       "Subject: =?utf-8?B?Z3LDvMOfZQ==?= an alle"},
      {"Subject: \xc3\xbc \xc3\xb6 x", "Subject: =?utf-8?B?w7wgw7Y=?= x"},
      {"Subject: caf\xe9", "Subject: =?utf-8?B?Y2Fmw6k=?="},
      {"From: J\xc3\xbcrgen X <j@x.example>", "From: =?utf-8?B?SsO8cmdlbg==?= X <j@x.example>"},
      {"To: \"M, J\xc3\xbcrgen\" <j@x.example>, b@x.example (\xc3\xbc)",
       "To: =?utf-8?B?TSwgSsO8cmdlbg==?= <j@x.example>, b@x.example (=?utf-8?B?w7w=?=)"},
      {"Cc: \xc3\xbc@x.example", "Cc: ??@x.example"},
      {"Content-Type: text/plain; charset=utf-8; name=\"\xc3\xbc \\\"x.txt\"",
       "Content-Type: text/plain; charset=\"utf-8\"; name*=utf-8''%C3%BC%20%22x.txt"},
      {"Content-Disposition: attachment; filename=\xc3\xbc.pdf",
       "Content-Disposition: attachment; filename*=utf-8''%C3%BC.pdf"},
      {"\xc3\xbc: x", "??: x"},
      {"no field \xc3\xbc", "no field ??"},
  };
  for (const auto& [field, encoded] : cases) {
    const std::string out = EncodeField(field + "\r\n");
    EXPECT_EQ(Unfold(out), encoded);
    EXPECT_TRUE(IsAscii(out));
  }
  const std::string long_subject = "Subject: " + absl::StrReplaceAll(std::string(300, 'x'), {{"x", "\xc3\xbc"}});
  const std::string out = EncodeField(long_subject + "\r\n");
  EXPECT_EQ(DecodeText(out.substr(9)), long_subject.substr(9));
  for (const absl::string_view line : absl::StrSplit(out, "\r\n")) EXPECT_LE(line.size(), 76u);
}

TEST(DowngradeTest, LongHeaderLinesAreFolded) {
  std::string words = "References:";
  for (int i = 0; i < 200; ++i) absl::StrAppend(&words, " <id", i, "@x.example>");
  const std::string folded = FoldField(words + "\r\n", 998, 998);
  EXPECT_TRUE(Fits(folded));
  EXPECT_EQ(absl::StrReplaceAll(folded, {{"\r\n ", " "}}), words + "\r\n");
  const std::string one = FoldField("X: " + std::string(3000, 'y') + "\r\n", 998, 998);
  EXPECT_TRUE(Fits(one)) << one;
  EXPECT_EQ(absl::StrReplaceAll(one, {{"\r\n ", ""}}), "X: " + std::string(3000, 'y') + "\r\n");
  EXPECT_TRUE(Fits(FoldField("X: " + std::string(3000, ' ') + "y" + std::string(3000, ' ') + "\r\n", 998, 998)));
  EXPECT_EQ(FoldField("Subject: x\r\n y\r\n", 998, 998), "Subject: x\r\n y\r\n");
  // An empty line would end the header.
  EXPECT_EQ(FoldField("X: a\r\n" + std::string(3000, ' ') + "\r\n b\r\n", 998, 998), "X: a\r\n \r\n b\r\n");
  for (const std::string& line : {std::string(3000, 'x') + ":", std::string(3000, 'x') + ": y", std::string(3000, ':'),
                                  ":" + std::string(3000, ' ') + "y", "X: y" + std::string(3000, '\t')}) {
    EXPECT_TRUE(Fits(FoldField(line + "\r\n", 998, 998))) << line;
    EXPECT_FALSE(absl::StrContains(FoldField(line + "\r\n", 998, 998), "\r\n\r\n")) << line;
  }
}

TEST(TransferEncoderTest, DecodesToWhatItWas) {
  const std::string samples[] = {"",
                                 "a",
                                 "a \t\r\n \r\n",
                                 "x\ry\nz\r\n",
                                 std::string("\0\x7f\xff=\r\n", 6),
                                 "a ",
                                 std::string(300, ' ') + "\r\n",
                                 "=\r\n==41=4",
                                 std::string(77, '-')};
  for (const std::string& sample : samples) {
    std::string base64;
    TransferEncoder encoder(TransferEncoder::Mode::kBase64);
    for (const char c : sample) encoder.Feed(absl::string_view(&c, 1), &base64);
    encoder.Finish(&base64);
    EXPECT_EQ(DecodeBase64(base64), sample);
    const std::string quoted = EncodeQuotedPrintable(sample);
    EXPECT_TRUE(Fits(quoted));
    // A bare LF is a line end.
    EXPECT_EQ(absl::StrReplaceAll(DecodeTransfer(Encoding::kQuotedPrintable, quoted), {{"\r\n", "\n"}}),
              absl::StrReplaceAll(sample, {{"\r\n", "\n"}}));
  }
}

TEST(TransferEncoderTest, LinesAreShort) {
  EXPECT_EQ(EncodeQuotedPrintable("a=b \r\nc\td\r\n"), "a=3Db=20\r\nc\td\r\n");
  const std::string wide = EncodeQuotedPrintable(std::string(200, '\xfc'));
  for (const absl::string_view line : absl::StrSplit(wide, "\r\n")) EXPECT_LE(line.size(), 76u);
  EXPECT_EQ(absl::StrReplaceAll(wide, {{"=\r\n", ""}}).size(), 600u);
}

// Real messages: the conversion changes how they are written, and nothing of what they say.
TEST(DowngradeTest, CorpusMessagesKeepTheirBodies) {
  int files = 0;
  for (const auto& entry : std::filesystem::recursive_directory_iterator("tests/corpora")) {
    if (!entry.is_regular_file()) continue;
    std::ifstream in(entry.path(), std::ios::binary);
    std::stringstream bytes;
    bytes << in.rdbuf();
    const std::string message =
        absl::StrReplaceAll(absl::StrReplaceAll(bytes.str(), {{"\r\n", "\n"}}), {{"\n", "\r\n"}});
    ++files;
    const std::string out = Convert(message);
    EXPECT_EQ(Bodies(out), Bodies(message)) << entry.path();
    EXPECT_EQ(Parse(out).parts.size(), Parse(message).parts.size()) << entry.path();
    EXPECT_EQ(Convert(out), out) << entry.path();
  }
  EXPECT_GT(files, 10);
}

}  // namespace
}  // namespace posthouse::message
