#include "model/application/xml_adapter.h"

#include <pugixml.hpp>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <format>
#include <map>
#include <optional>
#include <set>
#include <sstream>
#include <tuple>

#include "model/text.h"

namespace perdure::model {
namespace {

constexpr std::string_view kXmlSpace = "http://www.w3.org/XML/1998/namespace";

// Text of one element that is nothing but space counts, as the value of an attribute in a child of its own.
constexpr unsigned kParsing = pugi::parse_cdata | pugi::parse_escapes | pugi::parse_wconv_attribute | pugi::parse_eol |
                              pugi::parse_ws_pcdata_single | pugi::parse_doctype | pugi::parse_fragment;

// Whether what stands behind an '&' is something that XML has. pugixml leaves other things as they are, and ends the text at a
// reference to NUL.
bool is_reference(std::string_view text) {
  static constexpr std::array<std::string_view, 5> kKnown = {"amp;", "lt;", "gt;", "quot;", "apos;"};
  if (std::ranges::any_of(kKnown, [&](std::string_view known) { return text.starts_with(known); })) return true;
  const auto end = text.find(';');
  if (!text.starts_with('#') || end == std::string_view::npos || end > 9) return false;
  const bool hexadecimal = text.substr(1).starts_with('x');
  const std::string_view digits = text.substr(hexadecimal ? 2 : 1, end - (hexadecimal ? 2 : 1));
  std::uint32_t number = 0;
  const auto [rest, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number, hexadecimal ? 16 : 10);
  return error == std::errc{} && rest == digits.data() + digits.size() && number > 0;
}

class Builder {
 public:
  // `buffer` is what pugixml works in: its strings begin where they stood in `text`, which has the same length.
  Builder(XmlDocument& document, std::string_view text, const std::string& buffer)
      : document_(document), text_(text), buffer_(buffer) {
    lines_.push_back(0);
    for (std::size_t at = 0; at < text.size(); ++at) {
      if (text[at] == '\n') lines_.push_back(at + 1);
    }
    scope_["xml"].push_back(kXmlSpace);
    scope_[""].emplace_back();
  }

  Position position_at(std::size_t offset) const {
    const auto next = std::ranges::upper_bound(lines_, offset);
    const auto line = static_cast<std::size_t>(next - lines_.begin());
    return {.line = static_cast<unsigned>(line), .column = static_cast<unsigned>(offset - lines_[line - 1]) + 1};
  }

  // `message` ends the reading.
  bool stop(Position position, std::string message) {
    if (!stopped_) document_.issues.push_back({position, std::move(message)});
    stopped_ = true;
    return false;
  }
  bool stopped() const { return stopped_; }

  void build(const pugi::xml_document& parsed) {
    const auto is_element = [](const pugi::xml_node& node) { return node.type() == pugi::node_element; };
    if (std::ranges::none_of(parsed.children(), is_element)) stop({}, "no XML: there is no element in it");
    std::size_t roots = 0;
    for (const pugi::xml_node& node : parsed.children()) {
      if (node.type() == pugi::node_doctype) {
        stop(position_of(node.value()), "a document type is not read, since its entities can grow without bound; remove it");
      } else if (node.type() == pugi::node_pcdata || node.type() == pugi::node_cdata) {
        if (!is_blank(node.value())) stop(position_of(node.value()), "text outside of the root element; remove it");
      } else if (node.type() == pugi::node_element) {
        if (++roots > 1) stop(position_of(node.name()), "a second root element; keep one per file");
        else element(node, document_.root, 1);
      }
    }
  }

 private:
  static bool is_blank(std::string_view text) { return text.find_first_not_of(" \t\r\n") == std::string_view::npos; }

  // Of a string of pugixml's; nullopt: it stands in no place of the text.
  std::optional<std::size_t> offset_of(const char* string) const {
    const auto at = reinterpret_cast<std::uintptr_t>(string);
    const auto begin = reinterpret_cast<std::uintptr_t>(buffer_.data());
    if (at < begin || at >= begin + text_.size()) return std::nullopt;
    return at - begin;
  }
  Position position_of(const char* string) const {
    const auto offset = offset_of(string);
    return offset ? position_at(*offset) : Position{};
  }

  // The declared namespaces hold for the element itself and all below it.
  class Scope {
   public:
    Scope(Builder& builder, const pugi::xml_node& node) : builder_(builder) {
      for (const pugi::xml_attribute& attribute : node.attributes()) {
        const std::string_view name = attribute.name();
        if (name != "xmlns" && !name.starts_with("xmlns:")) continue;
        const std::string prefix(name.substr(std::min(name.size(), std::size_t{6})));
        builder_.scope_[prefix].push_back(builder_.intern(attribute.value()));
        prefixes_.push_back(prefix);
      }
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;
    ~Scope() {
      for (const std::string& prefix : prefixes_) builder_.scope_[prefix].pop_back();
    }

   private:
    Builder& builder_;
    std::vector<std::string> prefixes_;
  };

  std::string_view intern(std::string_view uri) {
    const auto known = spaces_.find(uri);
    if (known != spaces_.end()) return *known;
    return *spaces_.insert(document_.spaces.emplace_back(uri)).first;
  }

  std::optional<std::string_view> space_of(std::string_view prefix) const {
    const auto found = scope_.find(prefix);
    if (found == scope_.end() || found->second.empty()) return std::nullopt;
    return found->second.back();
  }

  // "uml:Model" is taken apart; complains about a prefix that nobody declared.
  std::pair<std::string_view, std::string> resolve(std::string_view name, Position position, std::string_view without_prefix) {
    const auto colon = name.find(':');
    if (colon == std::string_view::npos) return {without_prefix, std::string(name)};
    const std::string_view prefix = name.substr(0, colon);
    const auto space = space_of(prefix);
    if (!space) {
      stop(position, std::format("the prefix of {} is declared nowhere; add xmlns:{}", quote(name), prefix));
      return {};
    }
    return {*space, std::string(name.substr(colon + 1))};
  }

  bool count(Position position) {
    if (++nodes_ <= kMaxXmlNodes) return true;
    return stop(position, std::format("more than {} elements and attributes; keep what does not belong to the application in another file",
                                      kMaxXmlNodes));
  }

  // pugixml leaves entities that it does not know as they are.
  void check_entities(const char* string, char end) {
    const auto offset = offset_of(string);
    if (!offset) return;
    const std::size_t stop_at = std::min(text_.find(end, *offset), text_.size());
    const std::string_view raw = text_.substr(*offset, stop_at - *offset);
    for (auto at = raw.find('&'); at != std::string_view::npos; at = raw.find('&', at + 1)) {
      if (is_reference(raw.substr(at + 1))) continue;
      stop(position_at(*offset + at), "an entity that XML does not have; write &amp; for '&'");
    }
  }

  void attribute(const pugi::xml_attribute& parsed, XmlElement& element) {
    const Position position = position_of(parsed.name());
    if (!count(position)) return;
    const auto value = offset_of(parsed.value());
    const Position value_position = value ? position_at(*value) : position;
    if (value && *value > 0) check_entities(parsed.value(), text_[*value - 1]);
    const std::string_view name = parsed.name();
    if (name == "xmlns" || name.starts_with("xmlns:")) return;
    auto [space, local] = resolve(name, position, "");
    std::string text = parsed.value();
    if (!is_utf8(text) || text.find('\0') != std::string::npos) stop(value_position, "a character reference gives no text; remove it");
    const auto colon = text.find(':');
    const auto value_space = colon == std::string::npos ? std::nullopt : space_of(std::string_view(text).substr(0, colon));
    element.attributes.push_back({space, std::move(local), std::move(text), value_space.value_or(""), position, value_position});
  }

  void check_once(const XmlElement& element) {
    std::set<std::pair<std::string_view, std::string_view>> seen;
    for (const XmlAttribute& one : element.attributes) {
      if (seen.emplace(one.space, one.name).second) continue;
      document_.issues.push_back({one.position, std::format("attribute {} is given twice; remove one of them", quote(one.name))});
    }
  }

  void content(const pugi::xml_node& child, XmlElement& element, std::size_t depth) {
    if (child.type() == pugi::node_pcdata || child.type() == pugi::node_cdata) {
      if (child.type() == pugi::node_pcdata) check_entities(child.value(), '<');
      if (!is_utf8(child.value())) stop(position_of(child.value()), "a character reference gives no text; remove it");
      element.text += child.value();
    } else if (child.type() == pugi::node_element) {
      this->element(child, element.children.emplace_back(), depth + 1);
    }
  }

  void element(const pugi::xml_node& parsed, XmlElement& element, std::size_t depth) {
    element.position = position_of(parsed.name());
    if (stopped_ || !count(element.position)) return;
    if (depth > kMaxXmlDepth) {
      stop(element.position, std::format("nested deeper than {} levels; no model needs that", kMaxXmlDepth));
      return;
    }
    const Scope scope(*this, parsed);
    std::tie(element.space, element.name) = resolve(parsed.name(), element.position, *space_of(""));
    for (const pugi::xml_attribute& one : parsed.attributes()) attribute(one, element);
    check_once(element);
    for (const pugi::xml_node& child : parsed.children()) {
      if (stopped_) return;
      content(child, element, depth);
    }
  }

  XmlDocument& document_;
  std::string_view text_;
  const std::string& buffer_;
  std::vector<std::size_t> lines_;  // where each begins
  std::set<std::string_view> spaces_;
  std::map<std::string, std::vector<std::string_view>, std::less<>> scope_;
  std::size_t nodes_ = 0;
  bool stopped_ = false;
};

void append(pugi::xml_node& parent, const XmlOutput& output) {
  pugi::xml_node node = parent.append_child(output.name.c_str());
  for (const auto& [name, value] : output.attributes) node.append_attribute(name.c_str()) = value.c_str();
  if (!output.text.empty()) node.append_child(pugi::node_pcdata).set_value(output.text.c_str());
  for (const XmlOutput& child : output.children) append(node, child);
}

}  // namespace

XmlDocument parse_xml(std::string_view text) {
  XmlDocument document;
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  if (auto issue = find_bad_byte(text)) {
    document.issues.push_back(std::move(*issue));
    return document;
  }
  std::string buffer(text);
  Builder builder(document, text, buffer);
  pugi::xml_document parsed;
  const pugi::xml_parse_result result = parsed.load_buffer_inplace(buffer.data(), buffer.size(), kParsing, pugi::encoding_utf8);
  if (!result) {
    const auto offset = std::min(static_cast<std::size_t>(std::max<std::ptrdiff_t>(result.offset, 0)), text.size());
    builder.stop(builder.position_at(offset), std::format("not valid XML: {}", result.description()));
  } else {
    builder.build(parsed);
  }
  document.complete = !builder.stopped();
  return document;
}

std::string write_xml(const XmlOutput& root) {
  pugi::xml_document document;
  pugi::xml_node declaration = document.append_child(pugi::node_declaration);
  declaration.append_attribute("version") = "1.0";
  declaration.append_attribute("encoding") = "UTF-8";
  append(document, root);
  std::ostringstream out;
  document.save(out, "  ", pugi::format_indent, pugi::encoding_utf8);
  return std::move(out).str();
}

}  // namespace perdure::model
