// What holds for every picture, checked on its shapes for many applications: nothing overlaps, nothing is cut off, lines run
// beside boxes and words and lead from each requirement to what it is met by. Then the document that is made of them.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <format>
#include <fstream>
#include <numeric>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "deploy/drawing/diagram.h"
#include "deploy/drawing/draw.h"
#include "deploy/test_support.h"
#include "model/application/application_file.h"
#include "model/application/derive.h"
#include "model/application/xml_adapter.h"

namespace perdure::deploy {
namespace {

using namespace drawing;
using ::testing::HasSubstr;
using ::testing::Not;

model::Component component(const std::string& name) {
  model::Component made;
  made.program.name = name;
  made.program.command = {"/" + name};
  return made;
}

model::Application application_of(std::vector<model::Component> components) {
  model::Application application = test::application(R"(
network: {bridge: br0, addresses: [192.0.2.20-192.0.2.250/24], ipv4-gateway: 192.0.2.1}
components: [{name: none, command: [none]}]
)");
  application.components = std::move(components);
  return application;
}

placement::Grouping group(const model::Application& application) { return placement::group_components(application); }

bool overlap(const Box& one, const Box& other) {
  return one.x < other.x + other.width && other.x < one.x + one.width && one.y < other.y + other.height && other.y < one.y + one.height;
}

bool is_within(const Box& inner, const Box& outer) {
  return inner.x >= outer.x && inner.y >= outer.y && inner.x + inner.width <= outer.x + outer.width &&
         inner.y + inner.height <= outer.y + outer.height;
}

struct Segment {
  std::size_t net = 0;
  Point from{};
  Point to{};

  bool is_level() const { return from.y == to.y; }
  // A pixel wide.
  Box box() const {
    return {std::min(from.x, to.x), std::min(from.y, to.y), std::abs(from.x - to.x) + 1, std::abs(from.y - to.y) + 1};
  }
};

std::vector<Segment> segments_of(const Diagram& diagram) {
  std::vector<Segment> all;
  for (std::size_t net = 0; net < diagram.lines.size(); ++net) {
    for (const Line& line : diagram.lines[net]) {
      EXPECT_GE(line.size(), 2U);
      for (std::size_t i = 0; i + 1 < line.size(); ++i) {
        EXPECT_TRUE(line[i].x == line[i + 1].x || line[i].y == line[i + 1].y) << "neither level nor upright";
        all.push_back({net, line[i], line[i + 1]});
      }
    }
  }
  return all;
}

std::string words(const Box& box) { return std::format("{},{} {}x{}", box.x, box.y, box.width, box.height); }

void expect_boxes_apart(const Diagram& diagram) {
  const auto& components = diagram.components;
  const auto& containers = diagram.containers;
  for (std::size_t i = 0; i < components.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      EXPECT_FALSE(overlap(components[i].box, components[j].box)) << components[i].name << " and " << components[j].name;
    }
    for (const Box& container : containers) {
      EXPECT_TRUE(!overlap(components[i].box, container) || is_within(components[i].box, container)) << components[i].name;
    }
  }
  for (std::size_t i = 0; i < containers.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) EXPECT_FALSE(overlap(containers[i], containers[j])) << words(containers[i]);
  }
}

void expect_nothing_cut_off(const Diagram& diagram, const std::vector<Segment>& segments) {
  const Box view{0, 0, diagram.width, diagram.height};
  for (const ComponentBox& one : diagram.components) EXPECT_TRUE(is_within(one.box, view)) << one.name;
  for (const Box& one : diagram.containers) EXPECT_TRUE(is_within(one, view)) << words(one);
  for (const Text& one : diagram.texts) EXPECT_TRUE(is_within(box_of(one), view)) << one.text;
  for (const Segment& one : segments) EXPECT_TRUE(is_within(one.box(), view)) << words(one.box());
  for (const Point& ball : diagram.balls) EXPECT_GE(ball.x, kBallRadius);
}

// Each has room: beside the others, and in a box or outside of it.
void expect_words_have_room(const Diagram& diagram) {
  for (std::size_t i = 0; i < diagram.texts.size(); ++i) {
    const Box text = box_of(diagram.texts[i]);
    for (std::size_t j = 0; j < i; ++j) {
      EXPECT_FALSE(overlap(text, box_of(diagram.texts[j]))) << diagram.texts[i].text << " and " << diagram.texts[j].text;
    }
    for (const ComponentBox& one : diagram.components) {
      EXPECT_TRUE(!overlap(text, one.box) || is_within(text, one.box)) << diagram.texts[i].text << " at " << one.name;
    }
    for (const Box& one : diagram.containers) {
      EXPECT_TRUE(!overlap(text, one) || is_within(text, one)) << diagram.texts[i].text << " at a container";
    }
  }
}

void expect_lines_run_free(const Diagram& diagram, const std::vector<Segment>& segments) {
  for (const Segment& one : segments) {
    const Box box = one.box();
    for (const ComponentBox& component : diagram.components) {
      EXPECT_FALSE(overlap(box, component.box)) << words(box) << " runs over " << component.name;
    }
    for (const Text& text : diagram.texts) EXPECT_FALSE(overlap(box, box_of(text))) << words(box) << " runs over " << text.text;
  }
  for (std::size_t i = 0; i < segments.size(); ++i) {
    for (std::size_t j = 0; j < i; ++j) {
      const Segment& one = segments[i];
      const Segment& other = segments[j];
      if (one.net == other.net || one.is_level() != other.is_level()) continue;
      Box room = one.box();
      if (one.is_level()) {
        room.y -= kGrid / 2 - 1;
        room.height += kGrid - 2;
      } else {
        room.x -= kGrid / 2 - 1;
        room.width += kGrid - 2;
      }
      EXPECT_FALSE(overlap(room, other.box())) << "two lines in one: " << words(one.box()) << " and " << words(other.box());
    }
  }
}

bool touches(const Segment& segment, Point point) { return overlap(segment.box(), {point.x, point.y, 1, 1}); }

// By net: how many sockets it reaches; that all of it hangs together, and ends at one ball.
void expect_lines_lead_home(const model::Application& application, const Diagram& diagram, const std::vector<Segment>& segments) {
  std::vector<std::size_t> balls(diagram.lines.size(), 0);
  std::size_t sockets = 0;
  for (const ComponentBox& one : diagram.components) {
    for (const int y : one.provided) {
      std::set<std::size_t> nets;
      for (const Segment& segment : segments) {
        if (touches(segment, {one.box.x - kStub, one.box.y + y})) nets.insert(segment.net);
      }
      EXPECT_LE(nets.size(), 1U) << one.name;
      for (const std::size_t net : nets) ++balls[net];
    }
    for (const int y : one.required) {
      const Point socket{one.box.x + one.box.width + kSocketStick, one.box.y + y};
      std::set<std::size_t> nets;
      for (const Segment& segment : segments) {
        if (touches(segment, socket)) nets.insert(segment.net);
      }
      EXPECT_EQ(nets.size(), 1U) << one.name;
      sockets += nets.size();
    }
  }
  EXPECT_THAT(balls, testing::Each(1U));
  std::size_t required = 0;
  for (const model::Component& one : application.components) required += one.required.size();
  EXPECT_EQ(sockets, required);
  for (std::size_t net = 0; net < diagram.lines.size(); ++net) {
    std::vector<Segment> rest;
    std::ranges::copy_if(segments, std::back_inserter(rest), [net](const Segment& one) { return one.net == net; });
    ASSERT_FALSE(rest.empty());
    std::vector<Segment> reached = {rest.back()};
    rest.pop_back();
    for (std::size_t i = 0; i < reached.size(); ++i) {
      const Segment from = reached[i];
      std::erase_if(rest, [&](const Segment& one) {
        if (!overlap(one.box(), from.box())) return false;
        reached.push_back(one);
        return true;
      });
    }
    EXPECT_TRUE(rest.empty()) << "a line is broken off";
  }
}

void expect_right(const model::Application& application, const placement::Grouping& grouping, const Plan* plan) {
  const auto made = make_diagram(application, grouping, plan);
  ASSERT_TRUE(made) << made.error().message();
  EXPECT_EQ(made->components.size(), application.components.size());
  const std::vector<Segment> segments = segments_of(*made);
  expect_boxes_apart(*made);
  expect_nothing_cut_off(*made, segments);
  expect_words_have_room(*made);
  expect_lines_run_free(*made, segments);
  expect_lines_lead_home(application, *made, segments);
}

// Any component may require any other's, in circles too; some share a container; some names are long.
model::Application random_application(unsigned seed, std::size_t size) {
  std::mt19937 random(seed);
  const auto below = [&random](std::size_t end) { return static_cast<std::size_t>(random() % end); };
  std::vector<model::Component> components;
  for (std::size_t i = 0; i < size; ++i) {
    model::Component& one = components.emplace_back(component(std::format("c{}{}", i, below(8) == 0 ? std::string(40, 'w') : "")));
    for (std::size_t j = below(4); j-- > 0;) {
      model::ProvidedInterface& provided = one.provides.emplace_back(std::format("i{}-{}{}", i, j, below(10) == 0 ? std::string(50, 'm') : ""));
      if (below(2) == 0) provided.port = static_cast<std::uint16_t>(1000 + 10 * i + j);
      if (below(3) == 0) provided.state = model::StateKind::kStateful;
      if (provided.state == model::StateKind::kStateful && below(2) == 0) provided.state_sensitivity = std::chrono::milliseconds(500);
    }
  }
  const bool circles = below(2) == 0;
  for (std::size_t tries = size + below(2 * size); tries-- > 0;) {
    const std::size_t from = below(size);
    const std::size_t to = below(size);
    if (from == to || (!circles && from > to) || components[to].provides.empty()) continue;
    const std::string interface = components[to].provides[below(components[to].provides.size())].name;
    if (std::ranges::contains(components[from].required, interface, &model::RequiredInterface::interface)) continue;
    model::RequiredInterface& required = components[from].required.emplace_back(interface);
    if (below(2) == 0) required.outage_tolerance = std::chrono::seconds(5);
    if (below(3) == 0) required.delay_tolerance = std::chrono::milliseconds(200);
  }
  model::Application application = application_of(std::move(components));
  std::vector<std::size_t> order(size);
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::shuffle(order, random);
  std::size_t next = 0;
  while (next < size && below(3) > 0) {
    model::ContainerSettings& container = application.containers.emplace_back();
    container.name = std::format("box{}", next);
    for (std::size_t count = 1 + below(6); count > 0 && next < size; --count) container.components.push_back(application.components[order[next++]].name());
  }
  for (model::Component& one : application.components) {
    const bool shares = std::ranges::any_of(application.containers, [&](const auto& box) { return std::ranges::contains(box.components, one.name()); });
    if (!shares && below(4) == 0 && model::state_of(one) == model::StateKind::kStateless) one.replicas = 3;
  }
  return application;
}

TEST(Drawing, NothingOverlapsWhateverTheApplication) {
  for (unsigned seed = 1; seed <= 40; ++seed) {
    const model::Application application = random_application(seed, 1 + seed * 7 % 41);
    SCOPED_TRACE(std::format("seed {}", seed));
    expect_right(application, group(application), nullptr);
    const Plan plan = test::plan(application, test::cluster({"alpha r1", "beta r2", "gamma r2", "delta r3"}));
    ASSERT_TRUE(plan.possible()) << (plan.errors.empty() ? "" : plan.errors.front());
    expect_right(application, plan.grouping, &plan);
  }
}

TEST(Drawing, OneComponentIsOneBox) {
  const model::Application application = application_of({component("alone")});
  expect_right(application, group(application), nullptr);
  const auto made = make_diagram(application, group(application), nullptr);
  EXPECT_THAT(made->containers, testing::IsEmpty());
  EXPECT_THAT(made->balls, testing::IsEmpty());
}

TEST(Drawing, ACircleIsDrawnAroundItsBoxes) {
  std::vector<model::Component> components;
  for (const char* name : {"a", "b", "c"}) {
    components.push_back(component(name));
    components.back().provides.push_back({.name = name});
  }
  components[0].required.push_back({.interface = "b"});
  components[1].required.push_back({.interface = "c"});
  components[2].required.push_back({.interface = "a"});
  const model::Application application = application_of(components);
  expect_right(application, group(application), nullptr);
  EXPECT_EQ(crossings_of(*make_diagram(application, group(application), nullptr)), 0U);
}

// Two that exchange heights in one channel: neither can be left of the other as a whole.
TEST(Drawing, LinesThatExchangeTheirHeightsDoNotMeet) {
  for (unsigned seed = 100; seed < 130; ++seed) {
    std::mt19937 random(seed);
    std::vector<model::Component> components;
    for (std::size_t i = 0; i < 12; ++i) {
      components.push_back(component(std::format("c{}", i)));
      components[i].provides.push_back({.name = std::format("i{}", i)});
    }
    for (std::size_t i = 0; i < 6; ++i) {
      for (int j = 0; j < 3; ++j) {
        const std::string interface = std::format("i{}", 6 + random() % 6);
        if (!std::ranges::contains(components[i].required, interface, &model::RequiredInterface::interface)) {
          components[i].required.push_back({.interface = interface});
        }
      }
    }
    const model::Application application = application_of(components);
    SCOPED_TRACE(std::format("seed {}", seed));
    expect_right(application, group(application), nullptr);
  }
}

TEST(Drawing, AChainIsStraight) {
  std::vector<model::Component> components;
  for (int i = 0; i < 5; ++i) {
    components.push_back(component(std::format("c{}", i)));
    components.back().provides.push_back({.name = std::format("i{}", i)});
    if (i < 4) components.back().required.push_back({.interface = std::format("i{}", i + 1)});
  }
  const model::Application application = application_of(components);
  const auto made = make_diagram(application, group(application), nullptr);
  for (const Segment& segment : segments_of(*made)) EXPECT_EQ(segment.from.y, made->components[0].box.y + made->components[0].provided[0]);
}

TEST(Drawing, WhatIsAloneStandsInRows) {
  std::vector<model::Component> components;
  for (int i = 0; i < 40; ++i) components.push_back(component(std::format("c{}", i)));
  const model::Application application = application_of(components);
  expect_right(application, group(application), nullptr);
  const auto made = make_diagram(application, group(application), nullptr);
  EXPECT_LT(made->height, made->width) << "one column of 40 is no picture";
}

TEST(Drawing, WhatNobodyCanReadIsRefused) {
  std::vector<model::Component> components;
  for (int i = 0; i < 200; ++i) {
    components.push_back(component(std::format("c{}", i)));
    components.back().provides.push_back({.name = std::format("i{}", i)});
    for (int j = std::max(0, i - 60); j < i; ++j) components.back().required.push_back({.interface = std::format("i{}", j)});
  }
  const model::Application application = application_of(components);
  const auto drawn = draw(application, group(application), nullptr);
  ASSERT_FALSE(drawn);
  EXPECT_EQ(drawn.error().code(), ErrorCode::kInvalid);
  EXPECT_THAT(drawn.error().message(), HasSubstr("'shop'"));
}

TEST(Drawing, ThePictureSaysWhatTheModelSays) {
  const model::Application pair = test::application(test::kPair);
  const auto drawn = draw(pair, group(pair), nullptr);
  ASSERT_TRUE(drawn);
  for (const char* text : {"«stateful»", "«stateless»", ">web<", ">redis<", ">site<", ">tcp 80<", ">tcp 6379<", ">state sensitivity 500ms<",
                           ">outage tolerance 5s<"}) {
    EXPECT_THAT(*drawn, HasSubstr(text));
  }
  EXPECT_THAT(*drawn, Not(HasSubstr("shop-redis"))) << "nobody shares it";
}

TEST(Drawing, APlanAddsNodes) {
  const model::Application pair = test::application(test::kPair);
  const Plan plan = test::plan(pair, test::cluster({"alpha", "beta", "gamma"}));
  const auto drawn = draw(pair, plan.grouping, &plan);
  ASSERT_TRUE(drawn);
  const std::string owner = test::owner_of(plan, "shop-redis");
  const std::string standby = standbys_of(plan)[test::index_of(plan, "shop-redis")].at(0).str();
  EXPECT_THAT(*drawn, HasSubstr(std::format(">shop-redis on {}, standby {}<", owner, standby)));
}

TEST(Drawing, TheDocumentIsWellFormedAndKeepsToItself) {
  std::vector<model::Component> components = {component("a<b>&\"c")};  // which no reader lets pass
  components[0].provides.push_back({.name = "é'"});
  const model::Application application = application_of(components);
  const auto drawn = draw(application, group(application), nullptr);
  ASSERT_TRUE(drawn);
  const model::XmlDocument document = model::parse_xml(*drawn);
  ASSERT_TRUE(document.complete);
  EXPECT_THAT(document.issues, testing::IsEmpty());
  EXPECT_EQ(document.root.name, "svg");
  EXPECT_EQ(document.root.space, "http://www.w3.org/2000/svg");
  EXPECT_TRUE(std::ranges::any_of(document.root.children, [](const model::XmlElement& child) { return child.text == "a<b>&\"c"; }));
  for (const char* foreign : {"<script", "href", "@import", "@font-face", "url("}) EXPECT_THAT(*drawn, Not(HasSubstr(foreign)));
}

// The picture in README.md.
TEST(Drawing, ExampleIsUpToDate) {
  const auto read = model::read_any_application_file(PERDURE_EXAMPLES_DIR "/web-shop/web-shop.yaml");
  ASSERT_TRUE(read) << read.error().message();
  const model::Application& application = read->application;
  const Plan plan = test::plan(application, test::cluster({"host-a", "host-b", "host-c"}));
  const auto drawn = draw(application, plan.grouping, &plan);
  ASSERT_TRUE(drawn);
  const char* path = PERDURE_DOCS_DIR "/web-shop.svg";
  if (std::getenv("PERDURE_UPDATE_DOCS") != nullptr) std::ofstream(path) << *drawn;
  std::ifstream in(path);
  const std::string picture{std::istreambuf_iterator<char>(in), std::istreambuf_iterator<char>()};
  EXPECT_EQ(picture, *drawn) << "run deploy_test with PERDURE_UPDATE_DOCS=1";
}

}  // namespace
}  // namespace perdure::deploy
