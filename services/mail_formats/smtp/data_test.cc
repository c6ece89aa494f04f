// DataDecoder and DataEncoder: ends of data, dots, bare CR, LF and NUL.
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "services/mail_formats/smtp/data_decoder.h"
#include "services/mail_formats/smtp/data_encoder.h"

namespace posthouse::smtp {
namespace {

using std::string_literals::operator""s;

struct Decoded {
  std::string message;
  std::string rest;
  bool done = false;
  DataDecoder::Violation violation = DataDecoder::Violation::kNone;
};

Decoded Decode(const std::string& input, BareLinePolicy policy, size_t step,
               DataFormat format = DataFormat::kDotStuffed) {
  DataDecoder decoder(format, policy);
  Decoded result;
  size_t at = 0;
  while (at < input.size() && !decoder.done()) {
    const absl::string_view piece = absl::string_view(input).substr(at, step);
    const size_t used = decoder.Feed(piece, &result.message);
    EXPECT_TRUE(decoder.done() || used == piece.size());
    at += used;
  }
  if (format == DataFormat::kChunk) decoder.Finish(&result.message);
  result.rest = input.substr(at);
  result.done = decoder.done();
  result.violation = decoder.violation();
  return result;
}

// RFC 5321 §4.5.2
TEST(DataDecoder, UnstuffsDotsAndEndsExactly) {
  struct Case {
    std::string input, message, rest;
  };
  const std::vector<Case> cases = {
      {".\r\n", "", ""},
      {"a\r\n.\r\n", "a\r\n", ""},
      {"a\r\n.\r\nQUIT\r\n", "a\r\n", "QUIT\r\n"},
      {"..\r\n.\r\n", ".\r\n", ""},
      {"..a\r\n...b\r\n.\r\n", ".a\r\n..b\r\n", ""},
      {".a\r\n.\r\n", "a\r\n", ""},
      {"a.\r\n.b.\r\n\r\n.\r\n", "a.\r\nb.\r\n\r\n", ""},
      {"\r\n\r\n.\r\n", "\r\n\r\n", ""},
      {"\x80\xff\r\n.\r\n", "\x80\xff\r\n", ""},
      {std::string(100000, 'x') + "\r\n.\r\n", std::string(100000, 'x') + "\r\n", ""},
  };
  for (const Case& c : cases) {
    for (const size_t step : {size_t{1}, size_t{2}, size_t{3}, size_t{17}, c.input.size()}) {
      for (const BareLinePolicy policy : {BareLinePolicy::kReject, BareLinePolicy::kNormalize}) {
        const Decoded d = Decode(c.input, policy, step);
        EXPECT_TRUE(d.done);
        EXPECT_EQ(d.message, c.message);
        EXPECT_EQ(d.rest, c.rest);
        EXPECT_EQ(d.violation, DataDecoder::Violation::kNone);
      }
    }
  }
}

// The wrong ends of data of CVE-2023-51764 to -51766 and their kin. Behind each
// come smuggled commands and then a correct end: all of it is one message or none.
struct SmuggleCase {
  const char* name;
  std::string sequence;
  DataDecoder::Violation violation;
  std::string normalized;  // what stands between "first" and "MAIL" then
};

std::vector<SmuggleCase> SmuggleCases() {
  using V = DataDecoder::Violation;
  return {
      {"LF.LF", "\n.\n", V::kBareLf, "\r\n.\r\n"},
      {"LF.CRLF", "\n.\r\n", V::kBareLf, "\r\n.\r\n"},
      {"CRLF.LF", "\r\n.\n", V::kBareLf, "\r\n\r\n"},
      {"CR.CR", "\r.\r", V::kBareCr, "\r\n.\r\n"},
      {"CR.CRLF", "\r.\r\n", V::kBareCr, "\r\n.\r\n"},
      {"CRLF.CR", "\r\n.\r", V::kBareCr, "\r\n\r\n"},
      {"LF.CR", "\n.\r", V::kBareLf, "\r\n.\r\n"},
      {"CR.LF", "\r.\n", V::kBareCr, "\r\n.\r\n"},
      {"LFCR.LFCR", "\n\r.\n\r", V::kBareLf, "\r\n\r\n.\r\n\r\n"},
      {"CRLF.NULCRLF", "\r\n.\0\r\n"s, V::kNul, "\r\n\r\n"},
      {"CRLFNUL.CRLF", "\r\n\0.\r\n"s, V::kNul, "\r\n.\r\n"},
      {"CRLF.CRCRLF", "\r\n.\r\r\n", V::kBareCr, "\r\n\r\n"},
      {"CRCRLF.CRCRLF", "\r\r\n.\r\r\n", V::kBareCr, "\r\n\r\n"},
      {"CRLF.SPCRLF", "\r\n. \r\n", V::kNone, "\r\n \r\n"},
      {"CRLF.TABCRLF", "\r\n.\t\r\n", V::kNone, "\r\n\t\r\n"},
      {"CRLFSP.CRLF", "\r\n .\r\n", V::kNone, "\r\n .\r\n"},
      {"CRLF..CRLF", "\r\n..\r\n", V::kNone, "\r\n.\r\n"},
      {"VT.VT", "\x0b.\x0b", V::kNone, "\x0b.\x0b"},
      {"NEL.NEL", "\x85.\x85", V::kNone, "\x85.\x85"},
      {"LS.LS", "\u2028.\u2028", V::kNone, "\u2028.\u2028"},
      {"CRLF.LFCRLF", "\r\n.\n\r\n", V::kBareLf, "\r\n\r\n\r\n"},
      {"LFLF.LFLF", "\n\n.\n\n", V::kBareLf, "\r\n\r\n.\r\n\r\n"},
  };
}

TEST(DataDecoder, NoWrongEndOfDataEndsIt) {
  const std::string smuggled = "MAIL FROM:<smuggled@b.example>\r\nRCPT TO:<x@y.example>\r\nDATA\r\n\r\nx\r\n";
  for (const SmuggleCase& c : SmuggleCases()) {
    const std::string input = "Subject: s\r\n\r\nfirst" + c.sequence + smuggled + ".\r\nQUIT\r\n";
    for (const size_t step : {size_t{1}, size_t{2}, size_t{5}, size_t{23}, input.size()}) {
      const Decoded strict = Decode(input, BareLinePolicy::kReject, step);
      EXPECT_TRUE(strict.done) << c.name;
      EXPECT_EQ(strict.rest, "QUIT\r\n") << c.name;
      EXPECT_EQ(ViolationName(strict.violation), ViolationName(c.violation)) << c.name << " step " << step;

      const Decoded lenient = Decode(input, BareLinePolicy::kNormalize, step);
      EXPECT_TRUE(lenient.done) << c.name;
      EXPECT_EQ(lenient.rest, "QUIT\r\n") << c.name;
      EXPECT_EQ(lenient.violation, DataDecoder::Violation::kNone);
      EXPECT_EQ(lenient.message, "Subject: s\r\n\r\nfirst" + c.normalized + smuggled) << c.name << " step " << step;
    }
  }
}

// CR CR LF "." CR LF holds a correct CRLF "." CRLF: it is the end, and a violation too.
TEST(DataDecoder, ACorrectEndAfterABareCrIsTheEnd) {
  for (const size_t step : {size_t{1}, size_t{100}}) {
    const Decoded d = Decode("first\r\r\n.\r\nMAIL", BareLinePolicy::kReject, step);
    EXPECT_TRUE(d.done);
    EXPECT_EQ(d.rest, "MAIL");
    EXPECT_EQ(d.violation, DataDecoder::Violation::kBareCr);
  }
}

TEST(DataDecoder, CutOffDataIsNotDone) {
  for (const char* input : {"", "a", "a\r\n", "a\r\n.", "a\r\n.\r"}) {
    EXPECT_FALSE(Decode(input, BareLinePolicy::kReject, 1).done) << input;
  }
}

// RFC 3030 §2: chunks hold the message as it is.
TEST(ChunkDecoder, KeepsDotsAndEndsWithALine) {
  struct Case {
    std::string input, message;
    DataDecoder::Violation violation;
  };
  using V = DataDecoder::Violation;
  const std::vector<Case> cases = {
      {"", "", V::kNone},
      {"a\r\n.\r\n..\r\n", "a\r\n.\r\n..\r\n", V::kNone},
      {"no line end", "no line end\r\n", V::kNone},
      {"a\nb\r\n", "a\r\nb\r\n", V::kBareLf},
      {"a\r", "a\r\n", V::kBareCr},
      {"a\0b\r\n"s, "ab\r\n", V::kNul},
  };
  for (const Case& c : cases) {
    for (const size_t step : {size_t{1}, size_t{100}}) {
      EXPECT_EQ(Decode(c.input, BareLinePolicy::kNormalize, step, DataFormat::kChunk).message, c.message);
      EXPECT_EQ(Decode(c.input, BareLinePolicy::kReject, step, DataFormat::kChunk).violation, c.violation);
    }
  }
}

std::string Encode(const std::string& message, size_t step) {
  DataEncoder encoder;
  std::string out;
  for (size_t at = 0; at < message.size(); at += step)
    encoder.Encode(absl::string_view(message).substr(at, step), &out);
  encoder.Finish(&out);
  return out;
}

TEST(DataEncoder, StuffsDotsAcrossPieces) {
  struct Case {
    std::string message, wire;
  };
  const std::vector<Case> cases = {
      {"", ".\r\n"},
      {"a\r\n", "a\r\n.\r\n"},
      {"a", "a\r\n.\r\n"},
      {".\r\n", "..\r\n.\r\n"},
      {"..a\r\n.b.\r\n", "...a\r\n..b.\r\n.\r\n"},
      {"a\r\n\r\n.\r\n", "a\r\n\r\n..\r\n.\r\n"},
      // Never a bare CR or LF on the wire, whatever was stored.
      {"a\n.\nb", "a\r\n..\r\nb\r\n.\r\n"},
      {"a\r.\rb", "a\r\n..\r\nb\r\n.\r\n"},
      {"a\r\n.\r", "a\r\n..\r\n.\r\n"},
      {"\n\r.", "\r\n\r\n..\r\n.\r\n"},
  };
  for (const Case& c : cases) {
    for (const size_t step : {size_t{1}, size_t{2}, size_t{3}, size_t{100}}) EXPECT_EQ(Encode(c.message, step), c.wire);
  }
}

// The decoder reads what the encoder wrote: the only line of a dot is the last one.
TEST(DataEncoder, RoundTripsThroughTheDecoder) {
  for (const SmuggleCase& c : SmuggleCases()) {
    const std::string stored = "Subject: s\r\n\r\nfirst" + c.normalized + "x\r\n";
    for (const size_t step : {size_t{1}, size_t{7}, size_t{1000}}) {
      const Decoded d = Decode(Encode(stored, step), BareLinePolicy::kReject, step);
      EXPECT_TRUE(d.done);
      EXPECT_EQ(d.message, stored) << c.name;
      EXPECT_EQ(d.rest, "");
      EXPECT_EQ(d.violation, DataDecoder::Violation::kNone);
    }
  }
}

}  // namespace
}  // namespace posthouse::smtp
