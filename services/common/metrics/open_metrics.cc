#include "services/common/metrics/open_metrics.h"

#include <prometheus/client_metric.h>
#include <prometheus/metric_family.h>
#include <prometheus/metric_type.h>

#include <charconv>
#include <cmath>
#include <cstdint>
#include <optional>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_replace.h"
#include "absl/strings/string_view.h"
#include "absl/strings/strip.h"

namespace posthouse::metrics {
namespace {

// The shortest digits that give the same number again.
std::string Number(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "+Inf" : "-Inf";
  char digits[32];
  const std::to_chars_result end = std::to_chars(digits, digits + sizeof(digits), value);
  return std::string(digits, end.ptr);
}

// The bound of a bucket is a float, also a whole one: "1.0", not "1".
std::string Bound(double value) {
  std::string number = Number(value);
  if (number.find_first_not_of("0123456789-") == std::string::npos) number += ".0";
  return number;
}

std::string Escaped(absl::string_view text) {
  return absl::StrReplaceAll(text, {{"\\", "\\\\"}, {"\n", "\\n"}, {"\"", "\\\""}});
}

std::string LabelList(const prometheus::ClientMetric& metric) {
  std::string list;
  for (const prometheus::ClientMetric::Label& label : metric.label) {
    absl::StrAppend(&list, list.empty() ? "" : ",", label.name, "=\"", Escaped(label.value), "\"");
  }
  return list;
}

Labels LabelsOf(const prometheus::ClientMetric& metric) {
  Labels labels;
  for (const prometheus::ClientMetric::Label& label : metric.label) labels[label.name] = label.value;
  return labels;
}

void AppendSample(absl::string_view name, absl::string_view labels, absl::string_view value, std::string* out) {
  absl::StrAppend(out, name);
  if (!labels.empty()) absl::StrAppend(out, "{", labels, "}");
  absl::StrAppend(out, " ", value);
}

void AppendExemplar(const std::optional<Exemplar>& exemplar, std::string* out) {
  if (!exemplar.has_value()) return;
  const absl::string_view trace(exemplar->trace_id.data(), exemplar->trace_id.size());
  const int64_t millis = absl::ToUnixMillis(exemplar->at);
  absl::StrAppend(out, " # {trace_id=\"", trace, "\"} ", Number(exemplar->value), " ",
                  Number(static_cast<double>(millis) / 1000));
}

void AppendHistogram(const std::string& name, const prometheus::ClientMetric& metric, const Exemplars* exemplars,
                     std::string* out) {
  const std::string labels = LabelList(metric);
  const absl::string_view comma = labels.empty() ? "" : ",";
  for (size_t i = 0; i < metric.histogram.bucket.size(); ++i) {
    const prometheus::ClientMetric::Bucket& bucket = metric.histogram.bucket[i];
    AppendSample(absl::StrCat(name, "_bucket"), absl::StrCat(labels, comma, "le=\"", Bound(bucket.upper_bound), "\""),
                 absl::StrCat(bucket.cumulative_count), out);
    if (exemplars != nullptr) AppendExemplar(exemplars->Of(i), out);
    absl::StrAppend(out, "\n");
  }
  AppendSample(absl::StrCat(name, "_count"), labels, absl::StrCat(metric.histogram.sample_count), out);
  absl::StrAppend(out, "\n");
  AppendSample(absl::StrCat(name, "_sum"), labels, Number(metric.histogram.sample_sum), out);
  absl::StrAppend(out, "\n");
}

void AppendHead(absl::string_view name, absl::string_view type, absl::string_view help, std::string* out) {
  absl::StrAppend(out, "# TYPE ", name, " ", type, "\n# HELP ", name, " ", Escaped(help), "\n");
}

}  // namespace

std::string OpenMetricsText(const std::vector<prometheus::MetricFamily>& families, const FindExemplars& exemplars) {
  std::string out;
  for (const prometheus::MetricFamily& family : families) {
    switch (family.type) {
      case prometheus::MetricType::Counter:
        AppendHead(absl::StripSuffix(family.name, "_total"), "counter", family.help, &out);
        for (const prometheus::ClientMetric& metric : family.metric) {
          AppendSample(family.name, LabelList(metric), Number(metric.counter.value), &out);
          absl::StrAppend(&out, "\n");
        }
        break;
      case prometheus::MetricType::Gauge:
        AppendHead(family.name, "gauge", family.help, &out);
        for (const prometheus::ClientMetric& metric : family.metric) {
          AppendSample(family.name, LabelList(metric), Number(metric.gauge.value), &out);
          absl::StrAppend(&out, "\n");
        }
        break;
      case prometheus::MetricType::Histogram:
        AppendHead(family.name, "histogram", family.help, &out);
        for (const prometheus::ClientMetric& metric : family.metric) {
          AppendHistogram(family.name, metric, exemplars(family.name, LabelsOf(metric)), &out);
        }
        break;
      default:
        break;
    }
  }
  return absl::StrCat(out, "# EOF\n");
}

}  // namespace posthouse::metrics
