#include "model/compose/interpolation.h"

#include <algorithm>
#include <array>
#include <format>
#include <utility>

#include "model/text.h"

namespace perdure::model::compose {
namespace {

constexpr unsigned kMaxNesting = 8;
constexpr std::size_t kMaxResultBytes = std::size_t{256} << 10;

bool begins_name(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_'; }
bool is_name(char c) { return begins_name(c) || (c >= '0' && c <= '9'); }

std::string_view take_name(std::string_view text) {
  if (text.empty() || !begins_name(text.front())) return {};
  return text.substr(0, static_cast<std::size_t>(std::ranges::find_if_not(text, is_name) - text.begin()));
}

// The length of what stands between braces that are open already; npos: they are never closed.
std::size_t braced_length(std::string_view text) {
  unsigned depth = 1;
  for (std::size_t at = 0; at < text.size(); ++at) {
    if (text[at] == '$' && text.substr(at + 1).starts_with('{')) ++depth, ++at;
    else if (text[at] == '}' && --depth == 0) return at;
  }
  return std::string_view::npos;
}

class Interpolator {
 public:
  explicit Interpolator(const Variables& variables) : variables_(variables) {}

  Result<std::string> run(std::string_view text, unsigned nesting) {
    if (nesting > kMaxNesting) return fail(ErrorCode::kInvalid, std::format("variables are nested deeper than {} levels; write them out", kMaxNesting));
    std::string out;
    while (!text.empty()) {
      const std::size_t plain = std::min(text.find('$'), text.size());
      out += text.substr(0, plain);
      text.remove_prefix(plain);
      if (out.size() > kMaxResultBytes) return fail(ErrorCode::kInvalid, std::format("is longer than {} KiB with its variables", kMaxResultBytes >> 10));
      if (text.empty()) break;
      PERDURE_ASSIGN(const std::size_t used, variable(text, nesting, out));
      text.remove_prefix(used);
    }
    return out;
  }

  std::vector<std::string> take_unset() { return std::move(unset_); }

 private:
  // `text` begins with '$'; how much of it is used up.
  Result<std::size_t> variable(std::string_view text, unsigned nesting, std::string& out) {
    if (text.starts_with("$$")) {
      out += '$';
      return 2;
    }
    if (!text.starts_with("${")) {
      const std::string_view name = take_name(text.substr(1));
      if (name.empty()) return bad(text);
      out += plain(name);
      return name.size() + 1;
    }
    const std::size_t length = braced_length(text.substr(2));
    if (length == std::string_view::npos) return bad(text);
    const std::string_view inside = text.substr(2, length);
    const std::string_view name = take_name(inside);
    if (name.empty()) return bad(text);
    PERDURE_ASSIGN(const std::string value, substitute(text, name, inside.substr(name.size()), nesting));
    out += value;
    return length + 3;
  }

  Result<std::string> substitute(std::string_view text, std::string_view name, std::string_view rest, unsigned nesting) {
    if (rest.empty()) return plain(name);
    const bool colon = rest.starts_with(':');
    if (colon) rest.remove_prefix(1);
    if (rest.empty() || !std::string_view("-?+").contains(rest.front())) return std::unexpected(bad(text).error());
    const char operation = rest.front();
    rest.remove_prefix(1);
    const auto found = variables_.find(name);
    const bool given = found != variables_.end() && !(colon && found->second.empty());
    if (operation == '+') return given ? run(rest, nesting + 1) : std::string();
    if (given) return found->second;
    PERDURE_ASSIGN(std::string other, run(rest, nesting + 1));
    if (operation == '-') return other;
    return fail(ErrorCode::kInvalid, std::format("the variable {} has no value{}{}; set it in the environment or in .env", quote(name),
                                                 other.empty() ? "" : ": ", other.empty() ? "" : quote(other)));
  }

  std::string plain(std::string_view name) {
    const auto found = variables_.find(name);
    if (found != variables_.end()) return found->second;
    unset_.emplace_back(name);
    return {};
  }

  static Result<std::size_t> bad(std::string_view text) {
    return fail(ErrorCode::kInvalid, std::format("{} is no variable; write $NAME or ${{NAME}}, or $$ for a dollar", quote(text)));
  }

  const Variables& variables_;
  std::vector<std::string> unset_;
};

// --- Files of variables ---

class FileParser {
 public:
  FileParser(std::string_view text, const Variables& variables) : rest_(text), known_(variables) {}

  Result<EnvironmentFile> run() {
    while (!rest_.empty()) {
      skip_blanks();
      if (rest_.starts_with('#')) skip_line();
      if (rest_.empty()) break;
      if (rest_.starts_with('\n') || rest_.starts_with('\r')) {
        next();
        continue;
      }
      PERDURE_TRY(entry());
    }
    return std::move(file_);
  }

 private:
  Status entry() {
    if (rest_.starts_with("export ") || rest_.starts_with("export\t")) {
      rest_.remove_prefix(7);
      skip_blanks();
    }
    const std::size_t length = std::min(rest_.find_first_of("=\n\r \t#"), rest_.size());
    const std::string name(rest_.substr(0, length));
    if (name.empty() || take_name(name).empty()) return bad(std::format("{} is no name of a variable; write NAME=VALUE", quote(name)));
    rest_.remove_prefix(length);
    skip_blanks();
    if (!rest_.starts_with('=')) {
      if (!at_end()) return bad(std::format("{} has no value; write {}=VALUE", quote(name), name));
      const auto found = known_.find(name);
      file_.emplace_back(name, found == known_.end() ? std::nullopt : std::optional(found->second));
      return {};
    }
    rest_.remove_prefix(1);
    skip_blanks();
    PERDURE_ASSIGN(std::string value, this->value());
    known_.insert_or_assign(name, value);
    file_.emplace_back(name, std::move(value));
    return {};
  }

  Result<std::string> value() {
    if (rest_.starts_with('\'') || rest_.starts_with('"')) return quoted(rest_.front());
    std::size_t length = std::min(rest_.find_first_of("\r\n"), rest_.size());
    std::string_view raw = rest_.substr(0, length);
    rest_.remove_prefix(length);
    for (std::size_t at = 0; at < raw.size(); ++at) {
      if (raw[at] == '#' && (at == 0 || raw[at - 1] == ' ' || raw[at - 1] == '\t')) raw = raw.substr(0, at);
    }
    while (raw.ends_with(' ') || raw.ends_with('\t')) raw.remove_suffix(1);
    return expand(std::string(raw));
  }

  Result<std::string> quoted(char mark) {
    std::string text;
    for (std::size_t at = 1; at < rest_.size(); ++at) {
      const char c = rest_[at];
      if (c == mark) {
        line_ += static_cast<unsigned>(std::ranges::count(rest_.substr(0, at), '\n'));
        rest_.remove_prefix(at + 1);
        skip_blanks();
        if (!at_end()) return std::unexpected(bad("something stands behind the quotes; remove it").error());
        return mark == '"' ? expand(std::move(text)) : text;
      }
      if (c == '\\' && at + 1 < rest_.size()) {
        const char escaped = rest_[++at];
        if (mark == '\'') {
          if (escaped != '\'') text += '\\';
          text += escaped;
        } else if (escaped == '$') {
          text += "$$";
        } else {
          const std::string_view from = "ntr";
          const auto which = from.find(escaped);
          text += which == std::string_view::npos ? escaped : "\n\t\r"[which];
        }
        continue;
      }
      text += c;
    }
    return std::unexpected(bad("the quotes are not closed; close them").error());
  }

  Result<std::string> expand(std::string text) {
    const auto interpolated = interpolate(text, known_);
    if (!interpolated) return std::unexpected(bad(interpolated.error().message()).error());
    return interpolated->text;
  }

  bool at_end() const { return rest_.empty() || std::string_view("\r\n#").contains(rest_.front()); }
  void skip_blanks() {
    while (rest_.starts_with(' ') || rest_.starts_with('\t')) rest_.remove_prefix(1);
  }
  void skip_line() { rest_.remove_prefix(std::min(rest_.find('\n'), rest_.size())); }
  void next() {
    if (rest_.front() == '\n') ++line_;
    rest_.remove_prefix(1);
  }
  Status bad(std::string_view why) const { return fail(ErrorCode::kInvalid, std::format("{}: {}", line_, why)); }

  std::string_view rest_;
  Variables known_;
  EnvironmentFile file_;
  unsigned line_ = 1;
};

}  // namespace

Result<Interpolated> interpolate(std::string_view text, const Variables& variables) {
  Interpolator interpolator(variables);
  PERDURE_ASSIGN(std::string done, interpolator.run(text, 0));
  return Interpolated{std::move(done), interpolator.take_unset()};
}

Result<EnvironmentFile> parse_environment_file(std::string_view text, const Variables& variables) {
  return FileParser(text, variables).run();
}

}  // namespace perdure::model::compose
