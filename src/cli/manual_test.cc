// Proves: docs/cli.md is what the command table says; the manual pages have every row of the tables
// they are made from, and are roff that groff takes without a warning; the completion scripts
// complete, in the shells that are installed here.
#include "cli/manual.h"

#include <gtest/gtest.h>

#include <fstream>
#include <sstream>
#include <utility>

#include "cli/command_table.h"
#include "cli/completion.h"
#include "cli/markdown_blocks.h"
#include "cli/roff.h"
#include "cli/test_support.h"
#include "io/process.h"
#include "node/usage.h"

namespace perdure::cli {
namespace {

io::CommandResult run_tool(const std::vector<std::string>& command, std::string input) {
  io::CommandOptions options;
  options.input = std::move(input);
  auto result = io::run_command(command, options);
  EXPECT_TRUE(result.has_value()) << result.error().message();
  return result ? *result : io::CommandResult{};
}

bool installed(const std::string& program) {
  return io::run_command({program, "--version"}).has_value();
}

TEST(ManualTest, DocsCliMdIsCurrent) {
  std::ifstream file(PERDURE_DOCS "/cli.md", std::ios::binary);
  std::ostringstream content;
  content << file.rdbuf();
  EXPECT_EQ(content.str(), command_manual_markdown())
      << "ninja perdure_manual writes docs/cli.md anew";
}

TEST(ManualTest, GroffTakesThePagesWithoutAWarning) {
  if (!installed("groff")) GTEST_SKIP() << "groff is not installed";
  for (const std::string& page : {command_manual_roff(), spec_manual_roff(), application_manual_roff(), daemon_manual_roff()}) {
    const auto result = run_tool({"groff", "-man", "-Tutf8", "-ww"}, page);
    EXPECT_TRUE(result.status.success());
    EXPECT_EQ(result.standard_error, "");
    EXPECT_GT(result.standard_output.size(), page.size() / 2) << "all of it comes out";
  }
}

TEST(ManualTest, EveryCommandAndOptionIsInThePage) {
  const std::string page = command_manual_roff();
  for (const Command& command : command_table()) {
    EXPECT_EQ(page.contains(".SS \"perdure " + escape_roff(command.name)), !command.hidden)
        << command.name;
    for (const Option& option : command.options)
      EXPECT_TRUE(page.contains(escape_roff(option.name))) << option.name;
  }
}

// How Roff::item writes it.
std::string roff_item(std::string_view title, std::string_view text) {
  return ".TP\n\\fB" + escape_roff(title) + "\\fR\n" + escape_roff(text) + "\n";
}

TEST(DaemonManualTest, EveryOptionAndItsDefaultIsInThePage) {
  const std::string page = daemon_manual_roff();
  for (const node::UsageOption& option : node::option_table()) {
    EXPECT_TRUE(page.contains(roff_item(title_of(option), text_of(option)))) << option.name;
    EXPECT_TRUE(page.contains(escape_roff(option.fallback))) << option.name;
  }
  EXPECT_TRUE(page.contains("\\fB\\-\\-run\\-dir DIR\\fR")) << page;
  EXPECT_TRUE(page.contains("Default: /var/lib/perdure.")) << page;
}

TEST(DaemonManualTest, EveryExitStatusIsInThePage) {
  const std::string page = daemon_manual_roff();
  for (const node::UsageExit& row : node::exit_table()) {
    const std::string status = std::to_string(std::to_underlying(row.status));
    EXPECT_TRUE(page.contains(roff_item(status, row.meaning))) << status;
  }
  for (const char* status : {"0", "1", "64", "77"})
    EXPECT_TRUE(page.contains(std::string(".TP\n\\fB") + status + "\\fR\n")) << status;
}

TEST(DaemonManualTest, ItKnowsTheFilesThatPerdureSpeaksOf) {
  const std::string page = daemon_manual_roff();
  for (const NamedText& row : files_table())
    EXPECT_TRUE(page.contains(".TP\n\\fB" + escape_roff(row.name) + "\\fR\n")) << row.name;
}

TEST(RoffTest, NothingInATextIsARequest) {
  EXPECT_EQ(escape_roff("a\\b-c'd\"é"), "a\\eb\\-c\\(aqd\\(dq\\[u00E9]");
  Roff page("x", "1", "m");
  page.paragraph(".so /etc/passwd and `code` and **strong**");
  EXPECT_TRUE(
      page.text().ends_with(".PP\n\\&.so /etc/passwd and \\fBcode\\fR and \\fBstrong\\fR\n"))
      << page.text();
}

TEST(MarkdownTest, BlocksOfOurReferences) {
  const auto blocks = read_markdown(
      "# Title\n<!-- no -->\n\none\ntwo `x`\n\n- a\n  b\n- c\n\n```yaml\nk: v\n\n# no\n```\n"
      "| key | meaning |\n|---|---|\n| `k` | a \\| b |\n");
  ASSERT_EQ(blocks.size(), 6U);
  EXPECT_EQ(blocks[0].level, 1);
  EXPECT_EQ(plain_text(blocks[1].text), "one two x");
  EXPECT_EQ(blocks[2].text, "a b");
  EXPECT_EQ(blocks[3].text, "c");
  EXPECT_EQ(blocks[4].text, "k: v\n\n# no\n");
  ASSERT_EQ(blocks[5].rows.size(), 2U);
  EXPECT_EQ(blocks[5].rows[1], (std::vector<std::string>{"`k`", "a | b"}));
}

TEST(ManualTest, TheSpecReferenceFitsTheTerminal) {
  const std::string text = spec_reference(Style{.width = 80});
  EXPECT_LE(widest_line(text), 80);
  EXPECT_TRUE(text.contains("checkpoint.interval")) << text;
}

TEST(ManualTest, TheApplicationReferenceFitsTheTerminal) {
  const std::string text = application_reference(Style{.width = 80});
  EXPECT_LE(widest_line(text), 80);
  EXPECT_TRUE(text.contains("components[].requires[].delay-tolerance")) << text;
}

// Sources the script and prints what Tab would offer for the words.
std::string bash_offers(const std::string& words, int current) {
  const std::string script =
      "perdure() { case \"$*\" in\n"
      "  '__complete containers') echo web; echo db ;;\n"
      "  '__complete nodes') echo alpha; echo beta ;;\n"
      "  '__complete containers --socket /tmp/s') echo other ;;\n"
      "  '__complete generations web') echo 1.2f.41; echo 1.2e.7 ;;\n"
      "esac; }\n" +
      completion_script("bash") + "\nCOMP_WORDS=(" + words +
      ")\nCOMP_CWORD=" + std::to_string(current) + "\n_perdure\necho \"${COMPREPLY[*]}\"\n";
  const auto result = run_tool({"bash", "--norc", "-s"}, script);
  EXPECT_EQ(result.standard_error, "");
  return result.standard_output;
}

TEST(CompletionTest, Bash) {
  EXPECT_EQ(bash_offers("perdure re", 1), "restore\n");
  EXPECT_EQ(bash_offers("perdure inspect ''", 2), "web db\n");
  EXPECT_EQ(bash_offers("perdure --timeout 3s inspect w", 4), "web\n");
  EXPECT_EQ(bash_offers("perdure --socket /tmp/s inspect ''", 4), "other\n");
  EXPECT_EQ(bash_offers("perdure restore web --generation 1.2f", 4), "1.2f.41\n");
  EXPECT_EQ(bash_offers("perdure logs --t", 2), "--tail --timeout\n");
  EXPECT_EQ(bash_offers("perdure completion z", 2), "zsh\n");
  EXPECT_EQ(bash_offers("perdure inspect web ''", 3), "\n");
  EXPECT_EQ(bash_offers("perdure export web /etc/host", 3).find("/etc/host"), 0U);
}

TEST(CompletionTest, BashKnowsCommandsOfTwoWords) {
  EXPECT_EQ(bash_offers("perdure clu", 1), "cluster\n");
  EXPECT_EQ(bash_offers("perdure cluster ''", 2),
            "init join leave status token rotate-keys recover timing\n");
  EXPECT_EQ(bash_offers("perdure cluster timing ''", 3), "default fast\n");
  EXPECT_EQ(bash_offers("perdure takeover web --to b", 4), "beta\n");
  EXPECT_EQ(bash_offers("perdure node l", 2), "list label\n");
  EXPECT_EQ(bash_offers("perdure --timeout=3s node ''", 3).substr(0, 5), "list ");
  EXPECT_EQ(bash_offers("perdure node drain ''", 3), "alpha beta\n");
  EXPECT_EQ(bash_offers("perdure move ''", 2), "web db\n");
  EXPECT_EQ(bash_offers("perdure move web b", 3), "beta\n");
  EXPECT_EQ(bash_offers("perdure node label beta ''", 4), "data-centre= rack= server=\n");
  EXPECT_EQ(bash_offers("perdure cluster init --label r", 4), "rack=\n");
  EXPECT_EQ(bash_offers("perdure cluster join --tok", 3), "--token --token-file\n");
  EXPECT_EQ(bash_offers("perdure cluster recover web ''", 4), "web db\n");
  EXPECT_EQ(bash_offers("perdure cluster join --token-file /etc/host", 4).find("/etc/host"), 0U);
  EXPECT_EQ(bash_offers("perdure help node ''", 3), "list drain cordon uncordon remove label\n");
  EXPECT_EQ(bash_offers("perdure inspect cluster ''", 3), "\n");
}

TEST(CompletionTest, BashReadsWordsThatReadlineTakesApart) {
  EXPECT_EQ(bash_offers("perdure node label beta rack = r1 s", 7), "server=\n");
  EXPECT_EQ(bash_offers("perdure node label beta rack = ''", 6), "\n");
  EXPECT_EQ(bash_offers("perdure cluster join 192.0.2.1 : 7400 --wit", 6), "--witness\n");
  EXPECT_EQ(bash_offers("perdure logs --tail = 5 w", 5), "web\n");
  EXPECT_EQ(bash_offers("perdure spec --check = /etc/host", 4).find("/etc/host"), 0U);
  EXPECT_EQ(bash_offers("perdure --socket = /tmp/s inspect ''", 5), "other\n");
}

TEST(CompletionTest, EveryCommandIsInEveryScript) {
  for (const Command& command : command_table()) {
    if (command.hidden) continue;
    const std::string last(last_word(command));
    EXPECT_TRUE(completion_script("bash").contains("'" + std::string(command.name) + "') "))
        << command.name;
    EXPECT_TRUE(completion_script("zsh").contains(" " + last + ") _arguments ")) << command.name;
    EXPECT_TRUE(completion_script("fish").contains(" -a " + last + " -d ")) << command.name;
  }
}

TEST(CompletionTest, ZshTakesTheScript) {
  if (!installed("zsh")) GTEST_SKIP() << "zsh is not installed";
  const auto result = run_tool({"zsh", "-n"}, completion_script("zsh"));
  EXPECT_TRUE(result.status.success()) << result.standard_error;
}

TEST(CompletionTest, FishTakesTheScript) {
  if (!installed("fish")) GTEST_SKIP() << "fish is not installed";
  const auto result = run_tool({"fish", "-n"}, completion_script("fish"));
  EXPECT_TRUE(result.status.success()) << result.standard_error;
}

}  // namespace
}  // namespace perdure::cli
