#include "cli/manual.h"

#include <algorithm>
#include <format>

#include "cli/command_table.h"
#include "cli/exit_code.h"
#include "cli/help.h"
#include "cli/json_output.h"
#include "cli/markdown_blocks.h"
#include "cli/roff.h"
#include "model/application/application_yaml.h"
#include "model/spec_keys.h"

namespace perdure::cli {
namespace {

using model::markdown_cell;

constexpr std::string_view kPurpose = "keep Linux containers running through failures";
constexpr std::string_view kDescription =
    "perdure talks to perdured(8) on this host through its control socket. perdured takes complete "
    "states "
    "(generations) of each container again and again and, when the container fails, restores the "
    "newest of them in "
    "place: same memory, same files, same address.";
constexpr std::string_view kEffectsWarning =
    "A restore takes the container back in time, not the world: what it sent, and what it changed "
    "in shared volumes or "
    "in databases elsewhere, stays changed and may happen a second time.";
constexpr std::string_view kJsonIntroduction =
    "With --json every command prints one JSON object, logs and events one object per line as they "
    "happen. A field is "
    "never renamed or removed; new ones may come. A value that is not known is null. Names that "
    "end in _ns are "
    "nanoseconds, _bytes bytes; a time is RFC 3339 in UTC with milliseconds. An error is one line "
    "on standard error: "
    "{\"error\": ERROR}.";
constexpr std::string_view kAskIntroduction =
    "rm and restore, run and start where they take over a network interface of the host, and those "
    "commands of a cluster that have --yes say what they will do and "
    "ask. Where standard input or standard error is no terminal they refuse (code 6) unless --yes "
    "is given. Progress of "
    "what takes more than a second is shown on standard error.";

std::string capitalised(std::string_view text) {
  std::string result(text);
  if (!result.empty() && result[0] >= 'a' && result[0] <= 'z')
    result[0] = static_cast<char>(result[0] - 'a' + 'A');
  return result;
}

std::string upper_case(std::string_view text) {
  std::string result(text);
  for (char& c : result) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return result;
}

void roff_options(Roff& page, std::span<const Option> options) {
  for (const Option& option : options) page.item(option_title(option), option.help);
}

void roff_command(Roff& page, const Command& command) {
  page.subsection(usage_of(command));
  page.paragraph(capitalised(command.summary) + ".");
  for (const std::string_view paragraph : paragraphs_of(command.description))
    page.paragraph(paragraph);
  for (const Argument& argument : command.arguments) page.item(argument.name, argument.help);
  roff_options(page, command.options);
  for (const Example& example : command.examples) {
    page.code(example.command);
    page.paragraph(example.does);
  }
}

std::string title_of(const JsonShape& shape) {
  const bool answer = std::ranges::any_of(
      command_table(), [&](const Command& command) { return command.json == shape.name; });
  return answer ? shape.name + " (answer)" : shape.name;
}

void markdown_items(std::string& text, std::span<const Argument> arguments,
                    std::span<const Option> options) {
  if (arguments.empty() && options.empty()) return;
  text += "\n| | |\n|---|---|\n";
  for (const Argument& argument : arguments)
    text += std::format("| `{}` | {} |\n", argument.name, markdown_cell(argument.help));
  for (const Option& option : options)
    text += std::format("| `{}` | {} |\n", option_title(option), markdown_cell(option.help));
}

void markdown_command(std::string& text, const Command& command) {
  text += std::format("\n### {}\n\n`{}`\n\n{}.\n", command.name, usage_of(command),
                      capitalised(command.summary));
  for (const std::string_view paragraph : paragraphs_of(command.description))
    text += std::format("\n{}\n", paragraph);
  markdown_items(text, command.arguments, command.options);
  for (const Example& example : command.examples)
    text += std::format("\n{}\n\n```sh\n{}\n```\n", example.does, example.command);
}

void markdown_table(std::string& text, std::string_view title, std::span<const NamedText> rows) {
  text += std::format("\n## {}\n\n| | |\n|---|---|\n", title);
  for (const NamedText& row : rows)
    text += std::format("| `{}` | {} |\n", row.name, markdown_cell(row.text));
}

// A row of a table as a term with its text: the first cell is the term, the last one the text,
// those between are facts under the table's titles.
struct Term {
  std::string name;
  std::string facts;
  std::string text;
};
Term term_of(const std::vector<std::string>& titles, const std::vector<std::string>& row) {
  Term term{.name = plain_text(row.front()), .facts = "", .text = row.size() > 1 ? row.back() : ""};
  for (std::size_t i = 1; i + 1 < row.size() && i < titles.size(); ++i) {
    if (row[i].empty()) continue;
    term.facts += std::format("{}{}: {}", term.facts.empty() ? "" : "; ", titles[i], row[i]);
  }
  return term;
}

std::string render_block(const MarkdownBlock& block, const Style& style) {
  using Kind = MarkdownBlock::Kind;
  switch (block.kind) {
    case Kind::kHeading:
      return paint(plain_text(block.text), Colour::kTitle, style) + "\n";
    case Kind::kParagraph:
      return wrap(plain_text(block.text), style.width, "", "");
    case Kind::kItem:
      return wrap(plain_text(block.text), style.width, "  - ", "    ");
    case Kind::kCode: {
      std::string result;
      std::string_view rest = block.text;
      while (!rest.empty()) {
        const std::size_t end = rest.find('\n');
        result += "    " + std::string(rest.substr(0, end + 1));
        rest.remove_prefix(end + 1);
      }
      return result;
    }
    case Kind::kTable:
      break;
  }
  std::string result;
  for (std::size_t i = 1; i < block.rows.size(); ++i) {
    const Term term = term_of(block.rows.front(), block.rows[i]);
    result += "  " + paint(term.name, Colour::kTitle, style) + "\n";
    if (!term.facts.empty())
      result += wrap(plain_text(term.facts), style.width, "      ", "      ");
    result += wrap(plain_text(term.text), style.width, "      ", "      ");
  }
  return result;
}

void roff_block(Roff& page, const MarkdownBlock& block) {
  using Kind = MarkdownBlock::Kind;
  switch (block.kind) {
    case Kind::kHeading:
      page.section(plain_text(block.text));
      return;
    case Kind::kParagraph:
      page.paragraph(block.text);
      return;
    case Kind::kItem:
      page.bullet(block.text);
      return;
    case Kind::kCode:
      page.code(block.text);
      return;
    case Kind::kTable:
      break;
  }
  for (std::size_t i = 1; i < block.rows.size(); ++i) {
    const Term term = term_of(block.rows.front(), block.rows[i]);
    page.item(term.name,
              term.facts.empty() ? term.text : std::format("({}) {}", term.facts, term.text));
  }
}

}  // namespace

std::string command_manual_roff() {
  Roff page("perdure", "1", "Perdure Manual");
  page.section("NAME");
  page.plain(std::format("perdure - {}", kPurpose));
  page.section("SYNOPSIS");
  page.paragraph("`perdure` COMMAND [OPTION...] [ARGUMENT...]");
  page.section("DESCRIPTION");
  page.paragraph(kDescription);
  page.paragraph(kEffectsWarning);
  page.paragraph(kAskIntroduction);
  page.section("OPTIONS");
  roff_options(page, global_options());
  for (const CommandSection& part : command_sections()) {
    page.section(upper_case(part.title));
    for (const Command& command : part.commands) {
      if (!command.hidden) roff_command(page, command);
    }
  }
  page.section("EXIT STATUS");
  for (const ExitCodeRow& row : exit_code_table()) {
    page.item(std::format("{} {}", static_cast<int>(row.code), row.name), row.meaning);
  }
  page.section("JSON");
  page.paragraph(kJsonIntroduction);
  for (const JsonShape& shape : json_shapes()) {
    page.subsection(title_of(shape));
    for (const JsonFieldText& field : shape.fields)
      page.item(field.name, std::format("({}) {}", field.type, field.meaning));
  }
  page.section("ENVIRONMENT");
  for (const NamedText& row : environment_table()) page.item(row.name, row.text);
  page.section("FILES");
  for (const NamedText& row : files_table()) page.item(row.name, row.text);
  page.section("SEE ALSO");
  page.paragraph("`perdure-application`(5), `perdure-spec`(5), `perdured`(8), `criu`(8), `runc`(8)");
  return page.text();
}

namespace {

std::string reference_page(std::string_view name, std::string_view what, std::string_view markdown, std::string_view see_also) {
  Roff page(name, "5", "Perdure Manual");
  page.section("NAME");
  page.plain(std::format("{} - {}", name, what));
  page.section("DESCRIPTION");
  for (const MarkdownBlock& block : read_markdown(markdown)) {
    if (block.kind != MarkdownBlock::Kind::kHeading || block.level != 1) roff_block(page, block);
  }
  page.section("SEE ALSO");
  page.paragraph(see_also);
  return page.text();
}

}  // namespace

std::string spec_manual_roff() {
  return reference_page("perdure-spec", "the specification of a container for perdure run", model::spec_reference_markdown(),
                        "`perdure`(1), `perdure-application`(5), `perdured`(8)");
}

std::string application_manual_roff() {
  return reference_page("perdure-application", "the model of an application for perdure apply",
                        model::application_reference_markdown(), "`perdure`(1), `perdure-spec`(5), `perdured`(8)");
}

std::string command_manual_markdown() {
  std::string text =
      "# The command line\n\n<!-- Printed from the command table in src/cli; edit that, not this: "
      "ninja perdure_manual. -->\n\n";
  text += std::format("{}\n\n**{}**\n\n{}\n", kDescription, kEffectsWarning, kAskIntroduction);
  text += "\n## Options of every command\n";
  markdown_items(text, {}, global_options());
  for (const CommandSection& part : command_sections()) {
    text += std::format("\n## {}\n", part.title);
    for (const Command& command : part.commands) {
      if (!command.hidden) markdown_command(text, command);
    }
  }
  text += "\n## Exit codes\n\n| code | name | meaning |\n|---|---|---|\n";
  for (const ExitCodeRow& row : exit_code_table()) {
    text += std::format("| {} | `{}` | {} |\n", static_cast<int>(row.code), row.name, row.meaning);
  }
  text += std::format("\n## JSON\n\n{}\n", kJsonIntroduction);
  for (const JsonShape& shape : json_shapes()) {
    text += std::format("\n### {}\n\n| field | type | meaning |\n|---|---|---|\n", title_of(shape));
    for (const JsonFieldText& field : shape.fields) {
      text +=
          std::format("| `{}` | {} | {} |\n", field.name, markdown_cell(field.type),
                      markdown_cell(field.meaning));
    }
  }
  markdown_table(text, "Environment", environment_table());
  markdown_table(text, "Files", files_table());
  return text;
}

namespace {

std::string reference(std::string_view markdown, const Style& style) {
  std::string result;
  auto last = MarkdownBlock::Kind::kHeading;
  for (const MarkdownBlock& block : read_markdown(markdown)) {
    const bool in_list = block.kind == MarkdownBlock::Kind::kItem && last == block.kind;
    if (!result.empty() && !in_list) result += "\n";
    result += render_block(block, style);
    last = block.kind;
  }
  return result;
}

}  // namespace

std::string spec_reference(const Style& style) { return reference(model::spec_reference_markdown(), style); }
std::string application_reference(const Style& style) { return reference(model::application_reference_markdown(), style); }

}  // namespace perdure::cli
