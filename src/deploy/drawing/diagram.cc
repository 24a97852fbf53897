#include "deploy/drawing/diagram.h"

#include <algorithm>
#include <format>
#include <map>
#include <numeric>
#include <set>
#include <utility>

#include "deploy/drawing/card.h"
#include "model/application/derive.h"

namespace perdure::deploy::drawing {
namespace {

constexpr LayoutGaps kOutside{.nodes = 32, .channel = 56};
constexpr LayoutGaps kInside{.nodes = 24, .channel = 32};
constexpr int kMargin = 32;
constexpr int kTitleRoom = 40;
constexpr int kLegendRoom = 40;
constexpr int kFramePadding = 16;
constexpr int kFrameLine = 16;
// Boxes are as wide as the widest of them, but for those that are wider than this.
constexpr int kUsualWidth = 320;
constexpr int kEdgeNode = 2 * kGrid;
// The order of interfaces in a box follows from where the others are, which follows from that order.
constexpr int kRounds = 4;

// Containers with the same components: one, or replicas.
struct Frame {
  std::vector<std::size_t> components{};
  std::vector<std::size_t> containers{};
};

// Units beside each other, with the lines between them and to the outside.
struct Group {
  int width = 0;
  int height = 0;
  Shapes shapes{};
  std::vector<std::pair<std::size_t, int>> provided{};  // nets that come in on the left, and at which height
  std::vector<std::pair<std::size_t, int>> required{};  // nets that leave it on the right
};

class Making {
 public:
  Making(const model::Application& application, const placement::Grouping& grouping, const Plan* plan)
      : application_(application), grouping_(grouping), plan_(plan) {}

  Result<Diagram> run() {
    find_nets();
    find_frames();
    std::vector<Unit> cards = make_cards();
    std::vector<Unit> units;
    for (const Frame& frame : frames_) {
      if (plan_ == nullptr && frame.components.size() == 1) {
        units.push_back(std::move(cards[frame.components.front()]));
        continue;
      }
      PERDURE_ASSIGN(Unit unit, make_frame(frame, cards));
      units.push_back(std::move(unit));
    }
    PERDURE_ASSIGN(const Group all, join(units, kOutside, {}));
    return finish(all);
  }

 private:
  void find_nets() {
    const std::vector<model::Component>& components = application_.components;
    std::map<std::pair<std::size_t, std::size_t>, std::size_t> nets;  // by component and provided interface
    for (const model::Component& component : components) {
      ComponentNets& of = nets_.emplace_back();
      of.provided.resize(component.provides.size());
      of.required.resize(component.required.size());
    }
    for (std::size_t i = 0; i < components.size(); ++i) {
      for (std::size_t j = 0; j < components[i].required.size(); ++j) {
        const model::Sponsor sponsor = model::sponsor_of(application_, components[i].required[j]);
        if (sponsor.found != model::Sponsor::Found::kOne) continue;
        const auto& provides = components[sponsor.component].provides;
        const auto place = std::ranges::find(provides, components[i].required[j].interface, &model::ProvidedInterface::name);
        const auto index = static_cast<std::size_t>(place - provides.begin());
        const std::size_t net = nets.try_emplace({sponsor.component, index}, nets.size()).first->second;
        users_.resize(nets.size());
        users_[net].push_back(i);
        nets_[sponsor.component].provided[index] = net;
        nets_[i].required[j] = net;
      }
    }
  }

  void find_frames() {
    std::map<std::size_t, std::size_t> by_first;
    for (std::size_t i = 0; i < grouping_.containers.size(); ++i) {
      const std::vector<std::size_t>& components = grouping_.containers[i].components;
      const auto [place, is_new] = by_first.try_emplace(components.front(), frames_.size());
      if (is_new) frames_.push_back({.components = components});
      frames_[place->second].containers.push_back(i);
    }
  }

  std::vector<Unit> make_cards() const {
    int usual = 0;
    for (const model::Component& component : application_.components) {
      const int width = card_width(component);
      if (width <= kUsualWidth) usual = std::max(usual, width);
    }
    std::vector<Unit> cards;
    for (std::size_t i = 0; i < application_.components.size(); ++i) {
      cards.push_back(make_card(application_.components[i], nets_[i], std::max(usual, card_width(application_.components[i]))));
    }
    return cards;
  }

  std::string header_of(std::size_t container) const {
    std::string text = grouping_.containers[container].name.str();
    if (plan_ == nullptr) return text;
    if (plan_->placement.places.size() <= container || !plan_->placement.places[container].owner) return text + ", no place";
    const placement::ContainerPlace& place = plan_->placement.places[container];
    text += " on " + plan_->problem.nodes[*place.owner].name.str();
    if (!place.standbys.empty()) text += place.standbys.size() == 1 ? ", standby " : ", standbys ";
    for (std::size_t i = 0; i < place.standbys.size(); ++i) {
      text += (i == 0 ? "" : ", ") + plan_->problem.nodes[place.standbys[i]].name.str();
    }
    return text;
  }

  bool is_used_outside(std::size_t net, const Frame& frame) const {
    return std::ranges::any_of(users_[net], [&](std::size_t user) { return !std::ranges::contains(frame.components, user); });
  }

  Result<Unit> make_frame(const Frame& frame, const std::vector<Unit>& cards) const {
    std::vector<Unit> members;
    std::vector<std::size_t> entering;
    for (const std::size_t component : frame.components) {
      members.push_back(cards[component]);
      for (const auto& net : nets_[component].provided) {
        if (net && is_used_outside(*net, frame)) entering.push_back(*net);
      }
    }
    PERDURE_ASSIGN(const Group group, join(members, kInside, entering));
    return around(group, frame);
  }

  Unit around(const Group& group, const Frame& frame) const {
    const int header = 2 * kGrid + kFrameLine * static_cast<int>(frame.containers.size());
    const int left = group.provided.empty() ? kFramePadding : 0;
    const int right = left + group.width;
    int width = right + (group.required.empty() ? kFramePadding : 0);
    Unit unit;
    for (std::size_t i = 0; i < frame.containers.size(); ++i) {
      const Text& text = unit.shapes.texts.emplace_back(header_of(frame.containers[i]), kFramePadding, 20 + kFrameLine * static_cast<int>(i));
      width = std::max(width, box_of(text).width + 2 * kFramePadding);
    }
    unit.node = {.width = width, .height = header + group.height + kFramePadding};
    unit.shapes.containers.push_back({0, 0, width, unit.node.height});
    unit.shapes.add(group.shapes, {left, header});
    for (const auto& [net, y] : group.provided) {
      unit.node.left.push_back(header + y);
      unit.provided.emplace_back(net);
    }
    for (const auto& [net, y] : group.required) {
      unit.node.right.push_back(header + y);
      unit.required.emplace_back(net);
      if (right < width) unit.shapes.lines.push_back({net, {{right, header + y}, {width, header + y}}});
    }
    return unit;
  }

  // `entering`: nets that are provided in it, and required outside. What is required in it and provided outside leaves it.
  Result<Group> join(const std::vector<Unit>& units, const LayoutGaps& gaps, const std::vector<std::size_t>& entering) const {
    std::vector<LayoutNode> nodes;
    std::map<std::size_t, Net> by_net;
    std::map<std::size_t, bool> has_sink;
    for (std::size_t i = 0; i < units.size(); ++i) {
      nodes.push_back(units[i].node);
      for (std::size_t port = 0; port < units[i].provided.size(); ++port) {
        if (!units[i].provided[port]) continue;
        by_net[*units[i].provided[port]].sink = {i, port};
        has_sink[*units[i].provided[port]] = true;
      }
      for (std::size_t port = 0; port < units[i].required.size(); ++port) {
        if (units[i].required[port]) by_net[*units[i].required[port]].sources.push_back({i, port});
      }
    }
    std::vector<std::pair<std::size_t, std::size_t>> edges;  // net, node
    for (const std::size_t net : entering) {
      by_net[net].sources.push_back({nodes.size(), 0});
      edges.emplace_back(net, nodes.size());
      nodes.push_back({.height = kEdgeNode, .right = {kEdgeNode / 2}, .rank = Rank::kFirst});
    }
    for (auto& [index, net] : by_net) {
      if (has_sink.contains(index)) continue;
      net.sink = {nodes.size(), 0};
      edges.emplace_back(index, nodes.size());
      nodes.push_back({.height = kEdgeNode, .left = {kEdgeNode / 2}, .rank = Rank::kLast});
    }
    std::vector<Net> nets;
    for (const auto& [index, net] : by_net) nets.push_back(net);
    if (!can_lay_out(nodes, nets)) {
      return fail(ErrorCode::kInvalid, std::format("application '{}' has more dependencies than a picture shows: about {}", application_.name.str(),
                                                   kMaxLines));
    }
    return arrange(units, lay_out(nodes, nets, gaps), by_net, edges);
  }

  static Group arrange(const std::vector<Unit>& units, const Layout& layout, const std::map<std::size_t, Net>& by_net,
                       const std::vector<std::pair<std::size_t, std::size_t>>& edges) {
    Group group{.width = layout.width, .height = layout.height};
    for (std::size_t i = 0; i < units.size(); ++i) group.shapes.add(units[i].shapes, layout.nodes[i]);
    std::size_t i = 0;
    for (const auto& [index, net] : by_net) {
      for (const Line& line : layout.lines[i]) group.shapes.lines.emplace_back(index, line);
      ++i;
    }
    for (const auto& [net, node] : edges) {
      const bool enters = by_net.at(net).sink.node != node;
      (enters ? group.provided : group.required).emplace_back(net, layout.nodes[node].y + kEdgeNode / 2);
    }
    return group;
  }

  Diagram finish(const Group& all) const {
    Diagram diagram{.title = application_.name.str()};
    Shapes shapes;
    shapes.add(all.shapes, {kMargin, kMargin + kTitleRoom});
    const Text& title = shapes.texts.emplace_back(diagram.title, kMargin, kMargin + 16, TextStyle::kTitle);
    diagram.width = std::max(all.width, box_of(title).width) + 2 * kMargin;
    diagram.height = kMargin + kTitleRoom + all.height + kMargin;
    add_legend(diagram, shapes);
    diagram.containers = std::move(shapes.containers);
    diagram.components = std::move(shapes.components);
    diagram.balls = std::move(shapes.balls);
    diagram.sockets = std::move(shapes.sockets);
    diagram.texts = std::move(shapes.texts);
    diagram.lines.resize(users_.size());
    for (auto& [net, line] : shapes.lines) diagram.lines[net].push_back(std::move(line));
    return diagram;
  }

  // In as many lines as the picture's width needs.
  static void add_legend(Diagram& diagram, Shapes& shapes) {
    constexpr int kSample = 28;
    constexpr int kNext = 24;
    Point at{kMargin, diagram.height + 8};
    const auto add = [&](bool present, std::string_view words, const auto& draw) {
      if (!present) return;
      const int width = kSample + text_width(words, TextStyle::kNote);
      if (at.x > kMargin && at.x + width > diagram.width - kMargin) at = {kMargin, at.y + 24};
      draw(at);
      shapes.texts.push_back({std::string(words), at.x + kSample, at.y + 4, TextStyle::kNote});
      diagram.width = std::max(diagram.width, at.x + width + kMargin);
      at.x += width + kNext;
    };
    const bool balls = !shapes.balls.empty();
    const bool sockets = !shapes.sockets.empty();
    const bool containers = !shapes.containers.empty();
    add(balls, "provided interface", [&](Point p) { shapes.balls.push_back({p.x + kBallRadius, p.y}); });
    add(sockets, "required interface", [&](Point p) { shapes.sockets.push_back({p.x + kSocketStick + kSocketRadius, p.y}); });
    add(containers, "container", [&](Point p) { shapes.containers.push_back({p.x, p.y - 6, 20, 12}); });
    if (balls || sockets || containers) diagram.height = at.y + kMargin;
  }

  const model::Application& application_;
  const placement::Grouping& grouping_;
  const Plan* plan_;
  std::vector<ComponentNets> nets_;              // by component
  std::vector<std::vector<std::size_t>> users_;  // by net: components that require it
  std::vector<Frame> frames_;
};

// Components by name, as in a diagram.
using Boxes = std::map<std::string, const ComponentBox*>;

// Those that a component provides, or requires, from top to bottom as those stand at the other ends of their lines.
void sort_interfaces(model::Application& application, const Diagram& diagram) {
  Boxes boxes;
  for (const ComponentBox& component : diagram.components) boxes[component.name] = &component;
  const model::Application before = application;
  std::map<std::pair<std::string, std::string>, std::vector<int>> users;  // of an interface of a component: where they are
  for (std::size_t i = 0; i < before.components.size(); ++i) {
    const ComponentBox& user = *boxes[before.components[i].name()];
    std::vector<std::pair<int, std::size_t>> required;
    for (std::size_t j = 0; j < before.components[i].required.size(); ++j) {
      const model::Sponsor sponsor = model::sponsor_of(before, before.components[i].required[j]);
      if (sponsor.found != model::Sponsor::Found::kOne) return;
      const model::Component& of = before.components[sponsor.component];
      const auto place = std::ranges::find(of.provides, before.components[i].required[j].interface, &model::ProvidedInterface::name);
      const ComponentBox& box = *boxes[of.name()];
      required.emplace_back(box.box.y + box.provided[static_cast<std::size_t>(place - of.provides.begin())], j);
      users[{of.name(), place->name}].push_back(user.box.y + user.required[j]);
    }
    std::ranges::sort(required);
    for (std::size_t j = 0; j < required.size(); ++j) application.components[i].required[j] = before.components[i].required[required[j].second];
  }
  for (model::Component& component : application.components) {
    std::ranges::stable_sort(component.provides, {}, [&](const model::ProvidedInterface& provided) {
      const std::vector<int>& at = users[{component.name(), provided.name}];
      return at.empty() ? 0 : std::accumulate(at.begin(), at.end(), 0) / static_cast<int>(at.size());
    });
  }
}

}  // namespace

std::size_t crossings_of(const Diagram& diagram) {
  struct Piece {
    std::size_t net = 0;
    int at = 0;
    int low = 0;
    int high = 0;
    auto operator<=>(const Piece&) const = default;
  };
  std::set<Piece> across;
  std::set<Piece> down;
  for (std::size_t net = 0; net < diagram.lines.size(); ++net) {
    for (const Line& line : diagram.lines[net]) {
      for (std::size_t i = 0; i + 1 < line.size(); ++i) {
        const auto [left, right] = std::minmax(line[i].x, line[i + 1].x);
        const auto [top, bottom] = std::minmax(line[i].y, line[i + 1].y);
        if (top == bottom) across.insert({net, top, left, right});
        else down.insert({net, left, top, bottom});
      }
    }
  }
  std::size_t count = 0;
  for (const Piece& one : across) {
    count += static_cast<std::size_t>(std::ranges::count_if(down, [&](const Piece& other) {
      return one.net != other.net && one.low <= other.at && other.at <= one.high && other.low <= one.at && one.at <= other.high;
    }));
  }
  return count;
}

Result<Diagram> make_diagram(const model::Application& application, const placement::Grouping& grouping, const Plan* plan) {
  PERDURE_ASSIGN(Diagram best, Making(application, grouping, plan).run());
  std::size_t fewest = crossings_of(best);
  model::Application sorted = application;
  Diagram last = best;
  for (int round = 0; round < kRounds && fewest > 0; ++round) {
    sort_interfaces(sorted, last);
    PERDURE_ASSIGN(last, Making(sorted, grouping, plan).run());
    const std::size_t crossings = crossings_of(last);
    if (crossings >= fewest) continue;
    fewest = crossings;
    best = last;
  }
  return best;
}

}  // namespace perdure::deploy::drawing
