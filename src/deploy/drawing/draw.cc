#include "deploy/drawing/draw.h"

#include <algorithm>
#include <cstdlib>
#include <format>
#include <string_view>
#include <utility>

#include "deploy/drawing/diagram.h"
#include "model/application/xml_adapter.h"

namespace perdure::deploy {
namespace {

using model::XmlOutput;
using namespace drawing;

constexpr int kCornerRadius = 6;

constexpr std::string_view kStyle =
    "text { font-family: \"DejaVu Sans\", Verdana, \"Segoe UI\", Helvetica, Arial, sans-serif; font-size: 12px; fill: #1f2933 }"
    " .title { font-size: 18px; font-weight: bold } .name { font-size: 13px; font-weight: bold } .note { font-size: 11px; fill: #52606d }"
    " .end { text-anchor: end }"
    " .container { fill: #f5f7fa; stroke: #7b8794; stroke-dasharray: 6 4 }"
    " .component { fill: #fff; stroke: #323f4b } .stateful { fill: #fff7e0; stroke: #8d6a12 } .rule { stroke: #d5dbe1 }"
    " .line { fill: none; stroke: #486581; stroke-width: 1.5 }"
    " .symbol { fill: #fff; stroke: #323f4b } .stick { fill: none; stroke: #323f4b } .ball { fill: #fff; stroke: #323f4b }";

XmlOutput element(std::string name, std::string type) {
  XmlOutput output{.name = std::move(name)};
  output.attributes.emplace_back("class", std::move(type));
  return output;
}

// Between two pixels: lines one pixel wide are sharp there.
std::string sharp(int value) { return std::format("{}.5", value); }

XmlOutput rectangle(const Box& box, std::string type, int radius) {
  XmlOutput output = element("rect", std::move(type));
  output.attributes.emplace_back("x", sharp(box.x));
  output.attributes.emplace_back("y", sharp(box.y));
  output.attributes.emplace_back("width", std::format("{}", box.width));
  output.attributes.emplace_back("height", std::format("{}", box.height));
  if (radius > 0) output.attributes.emplace_back("rx", std::format("{}", radius));
  return output;
}

XmlOutput path(std::string type, std::string data) {
  XmlOutput output = element("path", std::move(type));
  output.attributes.emplace_back("d", std::move(data));
  return output;
}

std::string point(Point at) { return std::format("{}.5 {}.5", at.x, at.y); }

int distance(Point one, Point other) { return std::abs(one.x - other.x) + std::abs(one.y - other.y); }

// From `corner` towards `other`, at most half of the way.
Point towards(Point corner, Point other) {
  const int step = std::min(kCornerRadius, distance(corner, other) / 2);
  const auto sign = [](int value) { return (value > 0 ? 1 : 0) - (value < 0 ? 1 : 0); };
  return {corner.x + sign(other.x - corner.x) * step, corner.y + sign(other.y - corner.y) * step};
}

std::string rounded(const Line& line) {
  std::string data = "M" + point(line.front());
  for (std::size_t i = 1; i + 1 < line.size(); ++i) {
    data += std::format(" L{} Q{} {}", point(towards(line[i], line[i - 1])), point(line[i]), point(towards(line[i], line[i + 1])));
  }
  return data + " L" + point(line.back());
}

XmlOutput written(const Text& text) {
  std::string type;
  switch (text.style) {
    case TextStyle::kTitle: type = "title"; break;
    case TextStyle::kName: type = "name"; break;
    case TextStyle::kPlain: type = "plain"; break;
    case TextStyle::kNote: type = "note"; break;
  }
  XmlOutput output = element("text", type + (text.anchor == Anchor::kEnd ? " end" : ""));
  output.attributes.emplace_back("x", std::format("{}", text.x));
  output.attributes.emplace_back("y", std::format("{}", text.y));
  output.text = text.text;
  return output;
}

// As UML marks a component: a box with two tabs.
std::string symbol(const Box& box) {
  const int x = box.x + box.width - 22;
  const int y = box.y + 9;
  return std::format("M{0}.5 {1}.5 h11 v12 h-11 z M{2}.5 {3}.5 h6 v2 h-6 z M{2}.5 {4}.5 h6 v2 h-6 z", x, y, x - 3, y + 2, y + 7);
}

void add_component(XmlOutput& root, const ComponentBox& component) {
  const Box& box = component.box;
  root.add(rectangle(box, component.stateful ? "component stateful" : "component", 2));
  if (component.rule > 0) root.add(path("rule", std::format("M{}.5 {}.5 h{}", box.x + 1, box.y + component.rule, box.width - 2)));
  root.add(path("symbol", symbol(box)));
}

}  // namespace

Result<std::string> draw(const model::Application& application, const placement::Grouping& grouping, const Plan* plan) {
  PERDURE_ASSIGN(const Diagram diagram, make_diagram(application, grouping, plan));
  XmlOutput root{.name = "svg"};
  const std::string width = std::format("{}", diagram.width);
  const std::string height = std::format("{}", diagram.height);
  root.attributes = {{"xmlns", "http://www.w3.org/2000/svg"}, {"width", width}, {"height", height},
                     {"viewBox", std::format("0 0 {} {}", width, height)}};
  root.add({.name = "title", .text = diagram.title});
  root.add({.name = "style", .text = std::string(kStyle)});
  root.add({.name = "rect", .attributes = {{"width", width}, {"height", height}, {"fill", "#fff"}}});
  for (const Box& box : diagram.containers) root.add(rectangle(box, "container", 6));
  for (const std::vector<Line>& net : diagram.lines) {
    std::string data;
    for (const Line& line : net) data += (data.empty() ? "" : " ") + rounded(line);
    if (!data.empty()) root.add(path("line", std::move(data)));
  }
  for (const ComponentBox& component : diagram.components) add_component(root, component);
  for (const Point& ball : diagram.balls) {
    root.add(path("stick", std::format("M{} h{}", point({ball.x + kBallRadius, ball.y}), kStub - 2 * kBallRadius)));
    XmlOutput circle = element("circle", "ball");
    circle.attributes.emplace_back("cx", sharp(ball.x));
    circle.attributes.emplace_back("cy", sharp(ball.y));
    circle.attributes.emplace_back("r", std::format("{}", kBallRadius));
    root.add(std::move(circle));
  }
  for (const Point& socket : diagram.sockets) {
    root.add(path("stick", std::format("M{0} h{1} M{2} A{3} {3} 0 0 0 {4}", point({socket.x - kSocketRadius - kSocketStick, socket.y}), kSocketStick,
                                       point({socket.x, socket.y - kSocketRadius}), kSocketRadius, point({socket.x, socket.y + kSocketRadius}))));
  }
  for (const Text& text : diagram.texts) root.add(written(text));
  return write_xml(root);
}

}  // namespace perdure::deploy
