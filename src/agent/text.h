// Text without formats and streams, which would triple the program: what the agent writes and reads is
// lines of fields, separated by blanks, in which bytes that would separate are written as %XX.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace perdure::agent {

std::string to_text(std::int64_t number);

// Blanks, control characters, '%' and what is no ASCII become %XX; an empty field becomes "%".
std::string escaped(std::string_view field);
// nullopt: a '%' that is followed by no two hexadecimal digits.
std::optional<std::string> unescaped(std::string_view field);

// A line in the making: one word and its fields, each after a blank.
class Line {
 public:
  explicit Line(std::string_view word) : text_(word) {}
  Line& add(std::string_view field) {
    text_ += ' ';
    text_ += escaped(field);
    return *this;
  }
  Line& add(std::int64_t number) {
    text_ += ' ';
    text_ += to_text(number);
    return *this;
  }
  std::string text() const { return text_ + '\n'; }

 private:
  std::string text_;
};

// The fields of a line, taken one after the other. Whatever is missing or malformed makes it bad and yields
// an empty or zero value; is_bad() is asked once, at the end.
class Fields {
 public:
  explicit Fields(std::string_view line) : rest_(line) { word_ = cut(); }

  std::string_view word() const { return word_; }
  bool has_more() const { return !rest_.empty(); }
  std::string text(std::size_t max_bytes);
  std::int64_t number(std::int64_t min, std::int64_t max);
  // Also when fields are left over.
  bool is_bad() const { return bad_ || !rest_.empty(); }
  void spoil() { bad_ = true; }

 private:
  std::string_view cut();

  std::string_view rest_;
  std::string_view word_;
  bool bad_ = false;
};

// The lines of a text whose every line has an end; nullopt: the last one has none.
std::optional<std::vector<std::string_view>> lines_of(std::string_view text);

}  // namespace perdure::agent
