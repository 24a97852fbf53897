#include "deploy/drawing/card.h"

#include <algorithm>
#include <format>
#include <numeric>

#include "model/application/derive.h"
#include "model/value_codec.h"

namespace perdure::deploy::drawing {
namespace {

constexpr int kPadding = 12;
constexpr int kHeader = 48;
constexpr int kSymbol = 24;         // the component's, right of the header's first line, with what keeps it apart
constexpr int kBetweenColumns = 24;
// What is provided and what is required stand side by side, but not in a box wider than this.
constexpr int kWidest = 360;
constexpr int kNoteLine = 14;
constexpr int kPortInRow = 2 * kGrid;
constexpr int kBelowMiddle = 4;     // from the middle of a line of text to what letters stand on

// A wide sans-serif font, DejaVu Sans, in thousandths of its size; rounded up.
int letter_width(char c) {
  constexpr std::string_view kNarrow = "ijl.,:;'|!";
  constexpr std::string_view kSlim = "frt-()[]/ ";
  constexpr std::string_view kWide = "mwMW%@";
  if (kNarrow.contains(c)) return 350;
  if (kSlim.contains(c)) return 430;
  if (kWide.contains(c)) return 1000;
  if (c >= 'A' && c <= 'Z') return 790;
  return 650;
}

int size_of(TextStyle style) {
  switch (style) {
    case TextStyle::kTitle: return 18;
    case TextStyle::kName: return 13;
    case TextStyle::kPlain: return 12;
    case TextStyle::kNote: return 11;
  }
  return 0;
}

bool is_bold(TextStyle style) { return style == TextStyle::kTitle || style == TextStyle::kName; }

// An interface: its name, and below it what is said of it.
struct Row {
  std::string name{};
  std::vector<std::string> notes{};

  int height() const { return 3 * kGrid + 2 * kGrid * static_cast<int>(notes.size()); }
  int width() const {
    int width = text_width(name, TextStyle::kPlain);
    for (const std::string& note : notes) width = std::max(width, text_width(note, TextStyle::kNote));
    return width;
  }
};

std::string_view word_of(model::Protocol protocol) {
  switch (protocol) {
    case model::Protocol::kTcp: return "tcp";
    case model::Protocol::kUdp: return "udp";
    case model::Protocol::kHttp: return "http";
    case model::Protocol::kRtsp: return "rtsp";
  }
  return "";
}

std::vector<Row> provided_rows(const model::Component& component) {
  std::vector<Row> rows;
  for (const model::ProvidedInterface& provided : component.provides) {
    Row& row = rows.emplace_back(provided.name);
    if (provided.port) row.notes.push_back(std::format("{} {}", word_of(provided.protocol), *provided.port));
    if (provided.state_sensitivity) {
      row.notes.push_back("state sensitivity " + model::spell(*provided.state_sensitivity));
    } else if (provided.state == model::StateKind::kStateful) {
      row.notes.emplace_back("stateful");
    }
  }
  return rows;
}

std::vector<Row> required_rows(const model::Component& component) {
  std::vector<Row> rows;
  for (const model::RequiredInterface& required : component.required) {
    Row& row = rows.emplace_back(required.interface);
    if (required.delay_tolerance) row.notes.push_back("delay tolerance " + model::spell(*required.delay_tolerance));
    if (required.outage_tolerance) row.notes.push_back("outage tolerance " + model::spell(*required.outage_tolerance));
  }
  return rows;
}

int height_of(const std::vector<Row>& rows) {
  return std::accumulate(rows.begin(), rows.end(), 0, [](int sum, const Row& row) { return sum + row.height(); });
}

int width_of(const std::vector<Row>& rows) {
  int width = 0;
  for (const Row& row : rows) width = std::max(width, row.width());
  return width;
}

// In guillemets, as UML writes stereotypes.
std::string stereotype_of(const model::Component& component) {
  std::string text = model::state_of(component) == model::StateKind::kStateful ? "«stateful»" : "«stateless»";
  if (component.replicas > 1) text += std::format(" {} replicas", component.replicas);
  return text;
}

int side_by_side(const std::vector<Row>& provided, const std::vector<Row>& required) {
  const int between = provided.empty() || required.empty() ? 0 : kBetweenColumns;
  return width_of(provided) + between + width_of(required) + 2 * kPadding;
}

// What is provided on the left, what is required on the right.
class Card {
 public:
  Card(const model::Component& component, const ComponentNets& nets, int width) : component_(component), nets_(nets), width_(width) {}

  Unit run() {
    const std::vector<Row> provided = provided_rows(component_);
    const std::vector<Row> required = required_rows(component_);
    const bool stacked = side_by_side(provided, required) > width_;
    const int second = stacked ? kHeader + height_of(provided) : kHeader;
    const bool empty = provided.empty() && required.empty();
    const int rows = std::max(kHeader + height_of(provided), second + height_of(required));
    const int height = empty ? kHeader : rows + kGrid;
    unit_.node = {.width = width_ + 2 * kStub, .height = height};
    const bool stateful = model::state_of(component_) == model::StateKind::kStateful;
    unit_.shapes.components.push_back({{kStub, 0, width_, height}, component_.name(), stateful, empty ? 0 : kHeader});
    write(stereotype_of(component_), left(), 18, TextStyle::kNote, Anchor::kStart);
    write(component_.name(), left(), 36, TextStyle::kName, Anchor::kStart);
    add_provided(provided, kHeader);
    add_required(required, second);
    unit_.provided = nets_.provided;
    unit_.required = nets_.required;
    unit_.shapes.components.front().provided = unit_.node.left;
    unit_.shapes.components.front().required = unit_.node.right;
    return std::move(unit_);
  }

 private:
  int left() const { return kStub + kPadding; }
  int right() const { return kStub + width_ - kPadding; }

  void write(const std::string& text, int x, int y, TextStyle style, Anchor anchor) {
    unit_.shapes.texts.push_back({text, x, y, style, anchor});
  }

  void write_row(const Row& row, int x, int port, Anchor anchor) {
    write(row.name, x, port + kBelowMiddle, TextStyle::kPlain, anchor);
    for (std::size_t i = 0; i < row.notes.size(); ++i) {
      write(row.notes[i], x, port + kBelowMiddle + kNoteLine * static_cast<int>(i + 1), TextStyle::kNote, anchor);
    }
  }

  void add_provided(const std::vector<Row>& rows, int y) {
    for (const Row& row : rows) {
      const int port = y + kPortInRow;
      unit_.node.left.push_back(port);
      unit_.shapes.balls.push_back({kBallRadius, port});
      write_row(row, left(), port, Anchor::kStart);
      y += row.height();
    }
  }

  void add_required(const std::vector<Row>& rows, int y) {
    const int end = unit_.node.width;
    for (std::size_t i = 0; i < rows.size(); ++i) {
      const int port = y + kPortInRow;
      const Point socket{end - kStub + kSocketStick + kSocketRadius, port};
      unit_.node.right.push_back(port);
      unit_.shapes.sockets.push_back(socket);
      if (nets_.required[i]) unit_.shapes.lines.push_back({*nets_.required[i], {{socket.x - kSocketRadius, port}, {end, port}}});
      write_row(rows[i], right(), port, Anchor::kEnd);
      y += rows[i].height();
    }
  }

  const model::Component& component_;
  const ComponentNets& nets_;
  int width_;
  Unit unit_;
};

Point moved(Point point, Point by) { return {point.x + by.x, point.y + by.y}; }

}  // namespace

void Shapes::add(const Shapes& part, Point at) {
  for (Box box : part.containers) containers.push_back({box.x + at.x, box.y + at.y, box.width, box.height});
  for (ComponentBox component : part.components) {
    component.box.x += at.x;
    component.box.y += at.y;
    components.push_back(component);
  }
  for (const Point ball : part.balls) balls.push_back(moved(ball, at));
  for (const Point socket : part.sockets) sockets.push_back(moved(socket, at));
  for (auto [net, line] : part.lines) {
    for (Point& point : line) point = moved(point, at);
    lines.emplace_back(net, std::move(line));
  }
  for (Text text : part.texts) {
    text.x += at.x;
    text.y += at.y;
    texts.push_back(std::move(text));
  }
}

int text_width(std::string_view text, TextStyle style) {
  int thousandths = 0;
  for (const char c : text) {
    const bool continues = (static_cast<unsigned char>(c) & 0xC0U) == 0x80;  // of a character in UTF-8
    if (!continues) thousandths += letter_width(c);
  }
  return (thousandths * size_of(style) * (is_bold(style) ? 11 : 10) + 9'999) / 10'000;
}

Box box_of(const Text& text) {
  const int width = text_width(text.text, text.style);
  const int above = size_of(text.style) * 3 / 4;
  const int below = size_of(text.style) / 4;
  return {text.anchor == Anchor::kStart ? text.x : text.x - width, text.y - above, width, above + below};
}

int card_width(const model::Component& component) {
  const std::vector<Row> provided = provided_rows(component);
  const std::vector<Row> required = required_rows(component);
  const int header = std::max(text_width(component.name(), TextStyle::kName), text_width(stereotype_of(component), TextStyle::kNote) + kSymbol);
  const int both = side_by_side(provided, required);
  const int rows = both <= kWidest ? both : std::max(width_of(provided), width_of(required)) + 2 * kPadding;
  return (std::max(header + 2 * kPadding, rows) + kGrid - 1) / kGrid * kGrid;
}

Unit make_card(const model::Component& component, const ComponentNets& nets, int width) { return Card(component, nets, width).run(); }

}  // namespace perdure::deploy::drawing
