// Writes a manual page in the man macros of groff (groff_man(7)).
#pragma once

#include <string>
#include <string_view>

namespace perdure::cli {

class Roff {
 public:
  // `section` is "1", "5" or "8"; the title is written in capitals.
  Roff(std::string_view title, std::string_view section, std::string_view manual);

  void section(std::string_view title);     // .SH
  void subsection(std::string_view title);  // .SS
  void plain(
      std::string_view text);  // a line of text, without a macro: what mandb wants under NAME
  void paragraph(std::string_view text);                     // `code` is shown bold
  void item(std::string_view title, std::string_view text);  // .TP
  void bullet(std::string_view text);                        // .IP
  void code(std::string_view text);  // as it is, indented; may have several lines

  std::string text() const { return text_; }

 private:
  void line(std::string_view text);
  std::string text_;
};

// Text as roff input: nothing in it is a request or an escape; what is not ASCII becomes \[uXXXX].
std::string escape_roff(std::string_view text);

}  // namespace perdure::cli
