#include "model/yaml_adapter.h"

#include <yaml-cpp/depthguard.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/exceptions.h>
#include <yaml-cpp/mark.h>
#include <yaml-cpp/parser.h>

#include <algorithm>
#include <cstdint>
#include <exception>
#include <format>
#include <map>
#include <optional>
#include <sstream>

#include "base/assert.h"
#include "model/text.h"

namespace perdure::model {
namespace {

Position position_of(const YAML::Mark& mark) {
  if (mark.line < 0 || mark.column < 0) return {};
  return {.line = static_cast<unsigned>(mark.line) + 1,
          .column = static_cast<unsigned>(mark.column) + 1};
}

Position position_at(std::string_view text, std::size_t offset) {
  const std::string_view before = text.substr(0, offset);
  const auto line = static_cast<unsigned>(std::ranges::count(before, '\n')) + 1;
  const auto line_start = before.rfind('\n');
  const std::size_t column =
      line_start == std::string_view::npos ? offset : offset - line_start - 1;
  return {.line = line, .column = static_cast<unsigned>(column) + 1};
}

std::string too_deep() {
  return std::format("nested deeper than {} levels; no spec needs that", kMaxYamlDepth);
}

// Builds the tree. After the first issue that cannot be passed over it only ignores what comes.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(YamlDocument& document) : document_(document) {}

  bool stopped() const { return stopped_; }
  // The first one stays, except that brackets left open look like strange keys before the parser
  // finds out.
  void stop(Position position, std::string message) {
    if (stopped_ && !strange_key_) return;
    if (strange_key_) document_.issues.pop_back();
    strange_key_ = false;
    stopped_ = true;
    document_.issues.push_back({position, std::move(message)});
  }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (stopped_) return;
    if (expects_key()) return stop_at_key(position_of(mark));
    // The mark of an empty value is that of whatever comes next.
    const Position position = in_map() ? open_.back().key->position : position_of(mark);
    place({.position = position}, anchor);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    if (stopped_ || refuse_tag(mark, tag)) return;
    if (!charge(position_of(mark), 1, value.size())) return;
    // yaml-cpp 0.7 and 0.8 turn the escapes \N and \_ into single bytes.
    if (!is_utf8(value)) {
      return stop(position_of(mark),
                  "an escape gives no UTF-8; write \\u0085 for \\N and \\u00a0 for \\_");
    }
    place({.kind = YamlNode::Kind::kScalar, .position = position_of(mark), .text = value}, anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    if (stopped_) return;
    const Position position = position_of(mark);
    const auto named = anchored_.find(anchor);
    if (named == anchored_.end()) {
      return stop(position, "the alias stands inside of what it names; write the value out");
    }
    if (!charge(position, named->second)) return;
    YamlNode copy = named->second;
    if (open_.size() + depth(copy) > kMaxYamlDepth) return stop_at_depth(position);
    copy.position = position;
    place(std::move(copy), 0);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::kSequence);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    open(mark, tag, anchor, YamlNode::Kind::kMap);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    std::optional<YamlKey> key{};             // of a map: waits for its value
    bool skip_value = false;                  // the key stood there before
    std::map<std::string, unsigned> lines{};  // of a map: where each key stands
  };

  bool in_map() const { return !open_.empty() && open_.back().node.kind == YamlNode::Kind::kMap; }
  bool expects_key() const { return in_map() && !open_.back().key; }

  void stop_at_key(Position position) {
    stop(position, "a key must be plain text; quote it");
    strange_key_ = true;
  }
  void stop_at_depth(Position position) { stop(position, too_deep()); }

  // Plain scalars have the tag "?" (or none), quoted ones "!".
  bool refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return false;
    stop(position_of(mark), std::format("tag {} is not understood; leave it out", quote(tag)));
    return true;
  }

  bool charge(Position position, std::size_t nodes, std::size_t text_bytes) {
    nodes_ += nodes;
    text_bytes_ += text_bytes;
    if (nodes_ > kMaxYamlNodes) {
      stop(position, std::format("more than {} values with the aliases expanded; make it smaller",
                                 kMaxYamlNodes));
    } else if (text_bytes_ > kMaxYamlTextBytes) {
      stop(position,
           std::format("more than {} KiB of text with the aliases expanded; make it smaller",
                       kMaxYamlTextBytes >> 10));
    }
    return !stopped_;
  }

  // For a copy of the whole tree below `node`.
  bool charge(Position position, const YamlNode& node) {
    if (!charge(position, 1, node.text.size())) return false;
    for (const YamlKey& key : node.keys) {
      if (!charge(position, 1, key.text.size())) return false;
    }
    return std::ranges::all_of(node.items,
                               [&](const YamlNode& item) { return charge(position, item); });
  }

  // Levels of lists and maps.
  static std::size_t depth(const YamlNode& node) {
    if (node.kind == YamlNode::Kind::kScalar || node.kind == YamlNode::Kind::kNull) return 0;
    std::size_t deepest = 0;
    for (const YamlNode& item : node.items) deepest = std::max(deepest, depth(item));
    return deepest + 1;
  }

  void open(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
            YamlNode::Kind kind) {
    if (stopped_ || refuse_tag(mark, tag)) return;
    const Position position = position_of(mark);
    if (expects_key()) return stop_at_key(position);
    if (open_.size() >= kMaxYamlDepth) return stop_at_depth(position);
    if (!charge(position, 1, 0)) return;
    open_.push_back({.node = {.kind = kind, .position = position}, .anchor = anchor});
  }

  void close() {
    if (stopped_) return;
    PERDURE_ASSERT(!open_.empty());
    Open done = std::move(open_.back());
    open_.pop_back();
    place(std::move(done.node), done.anchor);
  }

  void place(YamlNode node, YAML::anchor_t anchor) {
    if (anchor != 0) {
      if (!charge(node.position, node)) return;
      anchored_[anchor] = node;
    }
    if (open_.empty()) {
      document_.root = std::move(node);
    } else if (expects_key()) {
      place_key(std::move(node));
    } else {
      Open& parent = open_.back();
      if (parent.key && !parent.skip_value) parent.node.keys.push_back(std::move(*parent.key));
      if (!parent.skip_value) parent.node.items.push_back(std::move(node));
      parent.key.reset();
      parent.skip_value = false;
    }
  }

  void place_key(YamlNode node) {
    if (node.kind != YamlNode::Kind::kScalar) return stop_at_key(node.position);
    Open& map = open_.back();
    const auto [first, fresh] = map.lines.try_emplace(node.text, node.position.line);
    map.skip_value = !fresh;
    if (!fresh) {
      document_.issues.push_back(
          {node.position, std::format("{} is given twice, first in line {}; remove one of them",
                                      quote(node.text), first->second)});
    }
    map.key = YamlKey{.text = std::move(node.text), .position = node.position};
  }

  YamlDocument& document_;
  std::vector<Open> open_;
  std::map<YAML::anchor_t, YamlNode> anchored_;
  std::size_t nodes_ = 0;
  std::size_t text_bytes_ = 0;
  bool stopped_ = false;
  bool strange_key_ = false;  // the last issue is that of stop_at_key()
};

// Finds a second document without building it.
class SecondDocument final : public YAML::EventHandler {
 public:
  bool seen() const { return seen_; }
  Position position() const { return position_; }

  void OnDocumentStart(const YAML::Mark& mark) override {
    seen_ = true;
    position_ = position_of(mark);
  }
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark&, YAML::anchor_t) override {}
  void OnAlias(const YAML::Mark&, YAML::anchor_t) override {}
  void OnScalar(const YAML::Mark&, const std::string&, YAML::anchor_t,
                const std::string&) override {}
  void OnSequenceStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                       YAML::EmitterStyle::value) override {}
  void OnSequenceEnd() override {}
  void OnMapStart(const YAML::Mark&, const std::string&, YAML::anchor_t,
                  YAML::EmitterStyle::value) override {}
  void OnMapEnd() override {}

 private:
  bool seen_ = false;
  Position position_{};
};

}  // namespace

std::optional<YamlIssue> find_bad_byte(std::string_view text) {
  for (std::size_t at = 0; at < text.size();) {
    const auto byte = static_cast<unsigned char>(text[at]);
    const bool line_end = byte == '\n' || (byte == '\r' && text.substr(at, 2) == "\r\n");
    if ((byte < 0x20 && byte != '\t' && !line_end) || byte == 0x7f) {
      return YamlIssue{position_at(text, at),
                       std::format("control character 0x{:02x}; remove it", unsigned{byte})};
    }
    const std::size_t length = utf8_length(text.substr(at));
    if (length == 0) {
      return YamlIssue{
          position_at(text, at),
          std::format("byte 0x{:02x} is not UTF-8; save the file as UTF-8", unsigned{byte})};
    }
    at += length;
  }
  return std::nullopt;
}

YamlDocument parse_yaml(std::string_view text) {
  YamlDocument document;
  if (text.starts_with("\xef\xbb\xbf")) {
    document.issues.push_back({{}, "begins with a byte order mark; save it as UTF-8 without one"});
    return document;
  }
  // The parser takes the control character 4 for the end of the text, decodes UTF-16 by itself and passes broken UTF-8 on: what
  // it must never see is found here.
  if (auto issue = find_bad_byte(text)) {
    document.issues.push_back(std::move(*issue));
    return document;
  }
  TreeBuilder builder(document);
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    parser.HandleNextDocument(builder);
    SecondDocument second;
    if (!builder.stopped()) parser.HandleNextDocument(second);
    if (second.seen())
      builder.stop(second.position(), "a second document begins; keep one per file");
  } catch (const YAML::DeepRecursion& error) {  // at 500 levels
    builder.stop(position_of(error.mark), too_deep());
  } catch (const YAML::Exception& error) {
    builder.stop(position_of(error.mark),
                 std::format("not valid YAML: {}; check indentation, quotes, colons and brackets",
                             error.msg));
  } catch (const std::exception& error) {
    builder.stop({}, std::format("cannot be parsed: {}", error.what()));
  }
  document.complete = !builder.stopped();
  return document;
}

}  // namespace perdure::model
