// Proves: text from outside cannot drive the terminal; lines keep to the width; names are never
// cut; columns go in the stated order.
#include "cli/text.h"

#include <gtest/gtest.h>

#include "cli/test_support.h"

namespace perdure::cli {
namespace {

TEST(TextTest, ControlCharactersAndBrokenUtf8AreReplaced) {
  EXPECT_EQ(clean("a\x1b[31mb"), "a?[31mb");
  EXPECT_EQ(clean("line\nbreak\ttab\r"), "line break tab?");
  EXPECT_EQ(clean("\xC2\x9B"
                  "31m"),
            "?31m")
      << "C1 in two bytes starts a sequence too";
  EXPECT_EQ(clean("\xFF\xC3"), "??");
  EXPECT_EQ(clean("\xE0\x80\x80"), "???") << "overlong";
  EXPECT_EQ(clean("\xED\xA0\x80"), "???") << "surrogate";
  EXPECT_EQ(clean("größer … 漢"), "größer … 漢");
  EXPECT_EQ(clean_block("a\nb\x07"), "a\nb?");
}

TEST(TextTest, ShortensAtCodePoints) {
  EXPECT_EQ(shorten("digest", 6), "digest");
  EXPECT_EQ(shorten("größenordnung", 6), "größ..");
  EXPECT_EQ(shorten("digest", 2), "..");
}

TEST(TextTest, WrapsAtSpacesAndKeepsLongWordsWhole) {
  EXPECT_EQ(wrap("one two three", 9, "", "  "), "one two\n  three\n");
  EXPECT_EQ(wrap("see /a/path/that/is/long now", 10, "- ", "  "),
            "- see\n  /a/path/that/is/long\n  now\n");
  EXPECT_EQ(wrap("", 10, "- ", "  "), "- \n");
}

std::vector<Column> columns() {
  return {{.title = "NAME"},
          {.title = "TEXT"},
          {.title = "LESS", .expendable = 1},
          {.title = "LEAST", .align = Align::kRight, .expendable = 2}};
}

TEST(TableTest, FitsByDroppingTheMostExpendableColumns) {
  const std::vector<std::vector<Cell>> rows{
      {{"a-name-of-twenty-chars"}, {"some free text"}, {"x"}, {"1"}},
      {{"b"}, {""}, {"yy"}, {"22"}}};
  EXPECT_EQ(render_table(columns(), rows, Style{.width = 51}),
            "NAME                    TEXT            LESS  LEAST\n"
            "a-name-of-twenty-chars  some free text  x         1\n"
            "b                       -               yy       22\n");
  EXPECT_EQ(render_table(columns(), rows, Style{.width = 50}),
            "NAME                    TEXT            LESS\n"
            "a-name-of-twenty-chars  some free text  x\n"
            "b                       -               yy\n");
  EXPECT_EQ(render_table(columns(), rows, Style{.width = 40}),
            "NAME                    TEXT\n"
            "a-name-of-twenty-chars  some free text\n"
            "b                       -\n");
}

TEST(TableTest, NamesAreNeverCut) {
  const std::string name(63, 'n');
  const std::string table =
      render_table(columns(), {{{name}, {"text"}, {"x"}, {"1"}}}, Style{.width = 40});
  EXPECT_TRUE(table.contains(name));
  EXPECT_FALSE(table.contains("LESS"));
}

TEST(TableTest, ColourDoesNotChangeTheLayout) {
  const std::string table =
      render_table({{.title = "A"}, {.title = "B"}}, {{{"x", Colour::kBad}, {"y"}}},
                   Style{.width = 80, .colour = true});
  EXPECT_TRUE(table.contains("\x1b[31mx\x1b[0m  y\n")) << table;
}

}  // namespace
}  // namespace perdure::cli
