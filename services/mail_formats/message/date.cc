#include "services/mail_formats/message/date.h"

#include <array>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/match.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_format.h"
#include "absl/time/civil_time.h"

namespace posthouse::message {
namespace {

constexpr std::array<absl::string_view, 12> kMonths = {"jan", "feb", "mar", "apr", "may", "jun",
                                                       "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<absl::string_view, 7> kDays = {"Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"};

struct Zone {
  absl::string_view name;
  int minutes;
};
// RFC 5322 §4.3, and names seen in mail that mean one thing only.
constexpr Zone kZones[] = {
    {"UT", 0},     {"GMT", 0},    {"UTC", 0},    {"Z", 0},      {"EST", -300}, {"EDT", -240}, {"CST", -360},
    {"CDT", -300}, {"MST", -420}, {"MDT", -360}, {"PST", -480}, {"PDT", -420}, {"CET", 60},   {"CEST", 120},
    {"MET", 60},   {"MEST", 120}, {"EET", 120},  {"EEST", 180}, {"BST", 60},   {"WET", 0},    {"WEST", 60},
    {"MSK", 180},  {"JST", 540},  {"KST", 540},  {"AEST", 600}, {"NZST", 720},
};

bool IsDigit(char c) { return absl::ascii_isdigit(static_cast<unsigned char>(c)); }
bool IsAlpha(char c) { return absl::ascii_isalpha(static_cast<unsigned char>(c)); }

int MonthOf(absl::string_view word) {
  if (word.size() < 3) return 0;
  for (size_t i = 0; i < kMonths.size(); ++i) {
    if (absl::EqualsIgnoreCase(word.substr(0, 3), kMonths[i])) return static_cast<int>(i) + 1;
  }
  return 0;
}

// The parts of the date that are known so far; words are read from left to right.
class DateReader {
 public:
  explicit DateReader(absl::string_view text) : text_(text) {}

  std::optional<Date> Read() {
    while (pos_ < text_.size() && words_ < 64) Step();
    return Result();
  }

 private:
  void Step() {
    const char c = text_[pos_];
    if (c == '(') return Comment();
    if (IsDigit(c)) return Number();
    if (IsAlpha(c)) return Word();
    if ((c == '+' || c == '-') && have_time_ && !have_zone_ && pos_ + 1 < text_.size() && IsDigit(text_[pos_ + 1]))
      return Offset();
    ++pos_;
  }

  void Comment() {
    int depth = 0;
    for (; pos_ < text_.size(); ++pos_) {
      if (text_[pos_] == '(') ++depth;
      if (text_[pos_] == ')' && --depth == 0) break;
    }
    if (pos_ < text_.size()) ++pos_;
  }

  int Digits(size_t max, size_t* count) {
    int value = 0;
    *count = 0;
    while (pos_ < text_.size() && IsDigit(text_[pos_])) {
      if (*count < max) value = value * 10 + (text_[pos_] - '0');
      ++*count;
      ++pos_;
    }
    return value;
  }

  void Number() {
    ++words_;
    size_t count = 0;
    const int value = Digits(4, &count);
    if (pos_ < text_.size() && (text_[pos_] == ':' || text_[pos_] == '.') && count <= 2 && !have_time_ &&
        pos_ + 1 < text_.size() && IsDigit(text_[pos_ + 1]) && (text_[pos_] == ':' || month_ > 0)) {
      return Time(value);
    }
    if (count > 4) return;
    if (count >= 3) {
      if (year_ < 0) year_ = count == 3 ? value + 1900 : value;  // RFC 5322 §4.3
      // ISO 8601: 2001-09-11
      if (count == 4 && month_ == 0 && day_ == 0 && pos_ < text_.size() && text_[pos_] == '-') iso_ = true;
    } else if (iso_ && month_ == 0) {
      month_ = value;
    } else if (day_ == 0) {
      day_ = value;
    } else if (year_ < 0) {
      year_ = value < 50 ? value + 2000 : value + 1900;  // RFC 5322 §4.3
    }
  }

  // hour ":" minute [":" second]
  void Time(int hour) {
    size_t count = 0;
    ++pos_;
    const int minute = Digits(2, &count);
    int second = 0;
    if (pos_ + 1 < text_.size() && (text_[pos_] == ':' || text_[pos_] == '.') && IsDigit(text_[pos_ + 1])) {
      ++pos_;
      second = Digits(2, &count);
      if (pos_ + 1 < text_.size() && text_[pos_] == '.' && IsDigit(text_[pos_ + 1])) {  // a fraction
        ++pos_;
        Digits(2, &count);
      }
    }
    have_time_ = true;
    if (hour > 23 || minute > 59 || second > 60) return;
    hour_ = hour;
    minute_ = minute;
    second_ = second;
  }

  void Word() {
    ++words_;
    const size_t start = pos_;
    while (pos_ < text_.size() && IsAlpha(text_[pos_])) ++pos_;
    const absl::string_view word = text_.substr(start, pos_ - start);
    if (have_time_ && !have_zone_) {
      for (const Zone& zone : kZones) {
        if (absl::EqualsIgnoreCase(word, zone.name)) {
          zone_ = zone.minutes;
          have_zone_ = zone_known_ = true;
          return;
        }
      }
      if (absl::EqualsIgnoreCase(word, "PM") && hour_ < 12) hour_ += 12;
      if (absl::EqualsIgnoreCase(word, "AM") && hour_ == 12) hour_ = 0;
    }
    if (month_ == 0) month_ = MonthOf(word);
  }

  // zone = ("+" / "-") 4DIGIT
  void Offset() {
    ++words_;
    const bool east = text_[pos_++] == '+';
    size_t count = 0;
    int value = Digits(4, &count);
    if (count <= 2 && pos_ < text_.size() && text_[pos_] == ':') {  // +01:00
      ++pos_;
      value = value * 100 + Digits(2, &count);
      count = 4;
    } else if (count <= 2) {
      value *= 100;
      count = 4;
    }
    have_zone_ = true;
    if (count > 4 || value % 100 > 59 || value / 100 > 23) return;
    const int minutes = value / 100 * 60 + value % 100;
    zone_ = east ? minutes : -minutes;
    zone_known_ = east || minutes != 0;  // RFC 5322 §3.3: "-0000" says nothing of the zone
  }

  std::optional<Date> Result() const {
    if (year_ < 1900 || year_ > 9999 || month_ < 1 || month_ > 12 || day_ < 1) return std::nullopt;
    const absl::CivilSecond civil(year_, month_, day_, hour_, minute_, second_);
    // CivilSecond normalises; the 31st of June is no day.
    if (absl::CivilDay(year_, month_, day_).day() != day_) return std::nullopt;
    Date date;
    date.time = absl::FromCivil(civil, absl::UTCTimeZone()) - absl::Minutes(zone_);
    date.zone_minutes = zone_;
    date.zone_known = zone_known_;
    return date;
  }

  const absl::string_view text_;
  size_t pos_ = 0;
  int words_ = 0;
  int day_ = 0, month_ = 0, year_ = -1;
  int hour_ = 0, minute_ = 0, second_ = 0, zone_ = 0;
  bool iso_ = false, have_time_ = false, have_zone_ = false, zone_known_ = false;
};

}  // namespace

int64_t Date::WrittenDay() const {
  const absl::CivilDay day(absl::ToCivilSecond(time + absl::Minutes(zone_minutes), absl::UTCTimeZone()));
  return day - absl::CivilDay(1970, 1, 1);
}

std::optional<Date> ParseDate(absl::string_view raw) { return DateReader(raw.substr(0, 1000)).Read(); }

std::string FormatDate(absl::Time time, int zone_minutes) {
  const absl::CivilSecond civil = absl::ToCivilSecond(time + absl::Minutes(zone_minutes), absl::UTCTimeZone());
  const int zone = zone_minutes < 0 ? -zone_minutes : zone_minutes;
  const absl::string_view month = kMonths[static_cast<size_t>(civil.month() - 1)];
  return absl::StrFormat("%s, %02d %c%s %04d %02d:%02d:%02d %c%02d%02d",
                         kDays[static_cast<size_t>(absl::GetWeekday(absl::CivilDay(civil)))], civil.day(),
                         absl::ascii_toupper(static_cast<unsigned char>(month[0])), month.substr(1), civil.year(),
                         civil.hour(), civil.minute(), civil.second(), zone_minutes < 0 ? '-' : '+', zone / 60,
                         zone % 60);
}

}  // namespace posthouse::message
