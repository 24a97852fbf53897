#include "cli/roff.h"

#include <format>

namespace perdure::cli {
namespace {

// Decodes one well-formed UTF-8 sequence and advances; the sources of manuals are our own.
unsigned decode(std::string_view text, std::size_t& at) {
  const auto lead = static_cast<unsigned char>(text[at]);
  const std::size_t length = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;
  unsigned value = lead & (0xFFU >> (length + 1));
  for (std::size_t i = 1; i < length && at + i < text.size(); ++i) {
    value = value << 6 | (static_cast<unsigned char>(text[at + i]) & 0x3FU);
  }
  at += length - 1;
  return value;
}

// `code` and **strong** become bold.
std::string inline_markup(std::string_view text) {
  std::string result;
  bool bold = false;
  while (!text.empty()) {
    const std::size_t tick = text.find('`');
    const std::size_t stars = text.find("**");
    const std::size_t mark = std::min(tick, stars);
    result += escape_roff(text.substr(0, mark));
    if (mark == std::string_view::npos) break;
    bold = !bold;
    result += bold ? "\\fB" : "\\fR";
    text.remove_prefix(mark + (mark == tick ? 1 : 2));
  }
  if (bold) result += "\\fR";
  return result;
}

}  // namespace

std::string escape_roff(std::string_view text) {
  std::string result;
  for (std::size_t at = 0; at < text.size(); ++at) {
    const char c = text[at];
    switch (c) {
      case '\\':
        result += "\\e";
        break;
      case '-':
        result += "\\-";
        break;
      case '\'':
        result += "\\(aq";
        break;
      case '`':
        result += "\\(ga";
        break;
      case '^':
        result += "\\(ha";
        break;
      case '~':
        result += "\\(ti";
        break;
      case '"':
        result += "\\(dq";
        break;
      default:
        if (static_cast<unsigned char>(c) < 0x80) {
          result += c;
        } else {
          result += std::format("\\[u{:04X}]", decode(text, at));
        }
    }
  }
  return result;
}

Roff::Roff(std::string_view title, std::string_view section, std::string_view manual) {
  std::string capitals(title);
  for (char& c : capitals) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
  text_ = ".\\\" Made from the tables of the program (src/cli/manual.h); edit those, not this.\n";
  text_ += std::format(".TH \"{}\" \"{}\" \"\" \"Perdure\" \"{}\"\n.nh\n.ad l\n",
                       escape_roff(capitals), section, escape_roff(manual));
}

// A line that begins with a control character must not be a request.
void Roff::line(std::string_view text) {
  if (text.starts_with('.')) text_ += "\\&";
  text_ += text;
  text_ += '\n';
}

void Roff::section(std::string_view title) {
  text_ += std::format(".SH \"{}\"\n", escape_roff(title));
}

void Roff::subsection(std::string_view title) {
  text_ += std::format(".SS \"{}\"\n", escape_roff(title));
}

void Roff::plain(std::string_view text) {
  line(escape_roff(text));
}

void Roff::paragraph(std::string_view text) {
  text_ += ".PP\n";
  line(inline_markup(text));
}

void Roff::item(std::string_view title, std::string_view text) {
  text_ += ".TP\n";
  line("\\fB" + escape_roff(title) + "\\fR");
  line(inline_markup(text));
}

void Roff::bullet(std::string_view text) {
  text_ += ".IP \\(bu 2\n";
  line(inline_markup(text));
}

void Roff::code(std::string_view text) {
  text_ += ".PP\n.RS 4\n.nf\n";
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    line(end == 0 ? std::string("\\&") : escape_roff(text.substr(0, end)));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  text_ += ".fi\n.RE\n";
}

}  // namespace perdure::cli
