// Nets of one channel, so close that each height is one's on the left and another's on the right: no two share a piece of way.
#include "deploy/drawing/channel.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>

namespace perdure::deploy::drawing {
namespace {

struct Piece {
  std::size_t net = 0;
  bool level = false;
  int at = 0;  // height of a level one, else where it stands
  int low = 0;
  int high = 0;
};

// The channel's left edge is -1, its right edge one behind the last track; heights as they are, tracks as their numbers.
void add_side(std::vector<Piece>& pieces, std::size_t net, const std::vector<int>& heights, int from, int to) {
  for (const int y : heights) pieces.push_back({net, true, y, from, to});
}

std::vector<Piece> pieces_of(const std::vector<Crossing>& nets, const Channel& channel) {
  std::vector<Piece> pieces;
  for (std::size_t i = 0; i < nets.size(); ++i) {
    const Tracks& tracks = channel.nets[i];
    std::vector<int> all = nets[i].left;
    all.insert(all.end(), nets[i].right.begin(), nets[i].right.end());
    if (std::ranges::min(all) == std::ranges::max(all)) {
      pieces.push_back({i, true, all.front(), -1, channel.tracks});
      continue;
    }
    add_side(pieces, i, nets[i].left, -1, tracks.left);
    add_side(pieces, i, nets[i].right, tracks.right, channel.tracks);
    std::vector<int> left = nets[i].left;
    std::vector<int> right = nets[i].right;
    if (tracks.left == tracks.right) {
      pieces.push_back({i, false, tracks.left, std::ranges::min(all), std::ranges::max(all)});
      continue;
    }
    left.push_back(tracks.between);
    right.push_back(tracks.between);
    pieces.push_back({i, false, tracks.left, std::ranges::min(left), std::ranges::max(left)});
    pieces.push_back({i, false, tracks.right, std::ranges::min(right), std::ranges::max(right)});
    pieces.push_back({i, true, tracks.between, tracks.left, tracks.right});
  }
  return pieces;
}

void expect_apart(const std::vector<Crossing>& nets) {
  const Channel channel = route(nets);
  const std::vector<Piece> pieces = pieces_of(nets, channel);
  for (std::size_t i = 0; i < pieces.size(); ++i) {
    EXPECT_LE(pieces[i].low, pieces[i].high);
    for (std::size_t j = 0; j < i; ++j) {
      const Piece& one = pieces[i];
      const Piece& other = pieces[j];
      if (one.net == other.net || one.level != other.level || one.at != other.at) continue;
      EXPECT_TRUE(one.high < other.low || other.high < one.low) << "nets " << one.net << " and " << other.net << " at " << one.at;
    }
  }
}

TEST(Channel, TwoThatExchangeTheirHeights) {
  const std::vector<Crossing> nets = {{.left = {8}, .right = {16}}, {.left = {16}, .right = {8}}};
  expect_apart(nets);
  EXPECT_EQ(route(nets).tracks, 3) << "one of them changes its height twice";
}

TEST(Channel, WhatRunsStraightNeedsNoTrack) {
  EXPECT_EQ(route({{.left = {8}, .right = {8}}, {.left = {16}, .right = {16}}}).tracks, 0);
  EXPECT_EQ(route({}).tracks, 0);
}

TEST(Channel, ThoseThatDoNotMeetShareATrack) {
  EXPECT_EQ(route({{.left = {8}, .right = {24}}, {.left = {40}, .right = {56}}}).tracks, 1);
}

TEST(Channel, NoTwoShareAPieceOfTheirWay) {
  for (unsigned seed = 1; seed <= 300; ++seed) {
    std::mt19937 random(seed);
    const std::size_t count = 1 + random() % 12;
    std::vector<Crossing> nets(count);
    std::vector<int> heights;
    for (std::size_t i = 0; i < 2 * count; ++i) heights.push_back(static_cast<int>(i) * kGrid);
    for (const auto side : {&Crossing::left, &Crossing::right}) {
      std::ranges::shuffle(heights, random);
      for (std::size_t i = 0; i < heights.size(); ++i) {
        if (i < count || random() % 3 == 0) (nets[i % count].*side).push_back(heights[i]);
      }
    }
    SCOPED_TRACE(seed);
    expect_apart(nets);
  }
}

}  // namespace
}  // namespace perdure::deploy::drawing
