// Proves that the alert rules, the dashboard and docs/monitoring.md speak of metrics that there are, and of labels that they have.
// PERDURE_UPDATE_GOLDEN writes the table of docs/monitoring.md anew.
#include <algorithm>
#include <cstdlib>
#include <format>
#include <fstream>
#include <regex>
#include <set>
#include <string>

#include "base/fd.h"
#include "gtest/gtest.h"
#include "node/metrics/metric_table.h"

namespace perdure::node {
namespace {

const std::string kTop = PERDURE_TOP;
constexpr std::string_view kTableBegin = "<!-- metrics: PERDURE_UPDATE_GOLDEN=1 node_test writes this table -->\n";
constexpr std::string_view kTableEnd = "<!-- end of metrics -->\n";

std::string read(const std::string& file) {
  const auto text = read_file(kTop + "/" + file);
  EXPECT_TRUE(text) << text.error().message();
  return text.value_or("");
}

const MetricRow* find(std::string_view name) {
  const auto found = std::ranges::find(kMetricTable, name, &MetricRow::name);
  return found == kMetricTable.end() ? nullptr : &*found;
}

// The metric that a query names: of a histogram, by one of its three series.
const MetricRow* queried(const std::string& name) {
  const MetricRow* row = find(name);
  if (row != nullptr) return row->kind == MetricKind::kHistogram ? nullptr : row;
  for (const std::string_view suffix : {"_bucket", "_sum", "_count"}) {
    if (!name.ends_with(suffix)) continue;
    row = find(std::string_view(name).substr(0, name.size() - suffix.size()));
    if (row != nullptr && row->kind == MetricKind::kHistogram) return row;
  }
  return nullptr;
}

std::set<std::string> labels_of(const MetricRow& row) {
  std::set<std::string> labels{"job", "instance", "le"};  // Prometheus' own
  const std::string text(row.labels);
  const std::regex word(R"(\w+)");
  for (std::sregex_iterator it(text.begin(), text.end(), word); it != std::sregex_iterator(); ++it) labels.insert(it->str());
  return labels;
}

// Metrics named in a file, with the labels that are asked for behind them: perdure_x{container="web"}.
void expect_known(const std::string& file, std::size_t least) {
  const std::string text = read(file);
  const std::regex metric(R"(\b((?:perdure|process)_[a-z_]+)(\{([^}]*)\})?)");
  const std::regex label(R"((\w+)\s*[=!]~?)");
  std::set<std::string> names;
  for (std::sregex_iterator it(text.begin(), text.end(), metric); it != std::sregex_iterator(); ++it) {
    const std::string name = (*it)[1].str();
    const std::string selector = (*it)[3].str();
    names.insert(name);
    const MetricRow* row = queried(name);
    ASSERT_NE(row, nullptr) << file << " asks for " << name << ", which perdured does not serve";
    for (std::sregex_iterator at(selector.begin(), selector.end(), label); at != std::sregex_iterator(); ++at) {
      EXPECT_TRUE(labels_of(*row).contains((*at)[1].str())) << file << ": " << name << " has no label " << (*at)[1].str();
    }
  }
  EXPECT_GE(names.size(), least) << file;
}

std::string_view word(MetricKind kind) {
  switch (kind) {
    case MetricKind::kGauge: return "gauge";
    case MetricKind::kCounter: return "counter";
    case MetricKind::kHistogram: return "histogram";
  }
  return "";
}

std::string_view unit_of(const MetricRow& row) {
  std::string_view name = row.name;
  if (name.ends_with("_total")) name.remove_suffix(std::string_view("_total").size());
  return name.ends_with("_seconds") ? "seconds" : name.ends_with("_bytes") ? "bytes" : "";
}

std::string table() {
  std::string text(kTableBegin);
  text += "| metric | type | unit | labels | meaning |\n|---|---|---|---|---|\n";
  for (const MetricRow& row : kMetricTable) {
    text += std::format("| `{}` | {} | {} | {} | {} |\n", row.name, word(row.kind), unit_of(row), row.labels, row.help);
  }
  return text + std::string(kTableEnd);
}

TEST(MetricTableTest, NamesFollowTheRulesOfPrometheus) {
  std::set<std::string_view> names;
  const std::regex rule("(perdure|process)(_[a-z0-9]+)+");
  for (const MetricRow& row : kMetricTable) {
    EXPECT_TRUE(names.insert(row.name).second) << row.name << " twice";
    EXPECT_TRUE(std::regex_match(std::string(row.name), rule)) << row.name;
    EXPECT_EQ(row.name.ends_with("_total"), row.kind == MetricKind::kCounter) << row.name;
    EXPECT_TRUE(row.help.ends_with('.')) << row.name;
    EXPECT_FALSE(row.help.contains('|') || row.help.contains('\n')) << row.name;
  }
}

TEST(MetricsFilesTest, TheAlertRulesNameMetricsThatThereAre) { expect_known("packaging/prometheus/perdure-alerts.yaml", 15); }

TEST(MetricsFilesTest, TheDashboardNamesMetricsThatThereAre) { expect_known("packaging/grafana/perdure.json", 25); }

TEST(MetricsFilesTest, TheTestOfTheRulesFeedsMetricsThatThereAre) { expect_known("tests/monitoring/perdure-alerts-test.yaml", 10); }

TEST(MetricsFilesTest, TheManualHasEveryMetric) {
  const std::string file = "docs/monitoring.md";
  std::string text = read(file);
  const std::size_t begin = text.find(kTableBegin);
  const std::size_t end = text.find(kTableEnd);
  ASSERT_TRUE(begin != std::string::npos && end != std::string::npos && begin < end) << file << " has no place for the table";
  const std::size_t length = end + kTableEnd.size() - begin;
  if (std::getenv("PERDURE_UPDATE_GOLDEN") != nullptr) {
    std::ofstream(kTop + "/" + file) << text.replace(begin, length, table());
    return;
  }
  EXPECT_EQ(text.substr(begin, length), table());
}

}  // namespace
}  // namespace perdure::node
