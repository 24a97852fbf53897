// Shapes of a part of a diagram, around an origin of their own, and the box of one component. Private to this directory.
#pragma once

#include <cstddef>
#include <optional>
#include <string_view>
#include <utility>
#include <vector>

#include "deploy/drawing/diagram.h"

namespace perdure::deploy::drawing {

struct Shapes {
  std::vector<Box> containers{};
  std::vector<ComponentBox> components{};
  std::vector<Point> balls{};
  std::vector<Point> sockets{};
  std::vector<std::pair<std::size_t, Line>> lines{};  // with the net
  std::vector<Text> texts{};

  void add(const Shapes& part, Point at);
};

// A box with what is in it, as the layout around it sees it.
struct Unit {
  LayoutNode node{};
  std::vector<std::optional<std::size_t>> provided{};  // by left port: its net; nullopt: nobody requires it
  std::vector<std::optional<std::size_t>> required{};  // by right port
  Shapes shapes{};
};

int text_width(std::string_view text, TextStyle style);

// The nets of a component, by its interfaces.
struct ComponentNets {
  std::vector<std::optional<std::size_t>> provided{};
  std::vector<std::optional<std::size_t>> required{};
};

// What all that is written in it needs.
int card_width(const model::Component& component);
Unit make_card(const model::Component& component, const ComponentNets& nets, int width);

}  // namespace perdure::deploy::drawing
