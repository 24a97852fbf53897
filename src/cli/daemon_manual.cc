// perdured(8), from what node/usage.h says of perdured; a file of its own, so that perdure links nothing of that.
#include <format>
#include <utility>

#include "cli/manual.h"
#include "cli/roff.h"
#include "node/usage.h"

namespace perdure::cli {

std::string daemon_manual_roff() {
  Roff page("perdured", "8", "Perdure Manual");
  page.section("NAME");
  page.plain(std::format("perdured - {}", node::kPurpose));
  page.section("SYNOPSIS");
  page.paragraph("`perdured` [OPTION...]");
  page.section("DESCRIPTION");
  for (const std::string_view paragraph : node::description()) page.paragraph(paragraph);
  page.section("OPTIONS");
  for (const node::UsageOption& option : node::option_table())
    page.item(node::title_of(option), node::text_of(option));
  page.section("EXIT STATUS");
  for (const node::UsageExit& row : node::exit_table())
    page.item(std::to_string(std::to_underlying(row.status)), row.meaning);
  page.section("FILES");
  page.paragraph("With the default directories:");
  for (const node::UsageFile& row : node::file_table()) page.item(row.path, row.meaning);
  page.section("SEE ALSO");
  page.paragraph("`perdure`(1), `perdure-application`(5), `perdure-spec`(5), `criu`(8), `runc`(8)");
  return page.text();
}

}  // namespace perdure::cli
