// The component diagram of an application (paper, Fig. 3) as shapes and their places, for whoever writes them in a picture's
// format, and for those that check that nothing overlaps. Pure, deterministic.
#pragma once

#include <cstddef>
#include <string>
#include <vector>

#include "base/result.h"
#include "deploy/drawing/layout.h"
#include "deploy/plan.h"
#include "model/application/application.h"
#include "placement/grouping.h"

namespace perdure::deploy::drawing {

struct Box {
  int x = 0;
  int y = 0;
  int width = 0;
  int height = 0;
};

// kName: bold. kNote: small and pale.
enum class TextStyle { kTitle, kName, kPlain, kNote };
enum class Anchor { kStart, kEnd };

struct Text {
  std::string text{};
  int x = 0;  // of the start or the end
  int y = 0;  // of the line that letters stand on
  TextStyle style = TextStyle::kPlain;
  Anchor anchor = Anchor::kStart;
};
// What the text takes with a wide font; others leave some of it empty.
Box box_of(const Text& text);

struct ComponentBox {
  Box box{};
  std::string name{};
  bool stateful = false;
  int rule = 0;  // how far below its top interfaces begin; 0: it has none
  std::vector<int> provided{};  // how far below its top each interface is, in the order of its component's
  std::vector<int> required{};
};

struct Diagram {
  int width = 0;
  int height = 0;
  std::string title{};
  std::vector<Box> containers{};
  std::vector<ComponentBox> components{};
  std::vector<Point> balls{};              // centres; the stick leads right to the box
  std::vector<Point> sockets{};            // centres of what is open to the right; the stick leads left to the box
  std::vector<std::vector<Line>> lines{};  // by provided interface that somebody requires
  std::vector<Text> texts{};
};

inline constexpr int kBallRadius = 5;
inline constexpr int kSocketRadius = 6;
inline constexpr int kSocketStick = 8;
inline constexpr int kStub = 16;  // from a component's box to where lines begin and end

// Where lines of different interfaces cross.
std::size_t crossings_of(const Diagram& diagram);

// `plan`, of this application and grouping: each container with its place. Without one: containers that components share, only.
// kInvalid: more lines than a picture shows.
Result<Diagram> make_diagram(const model::Application& application, const placement::Grouping& grouping, const Plan* plan);

}  // namespace perdure::deploy::drawing
