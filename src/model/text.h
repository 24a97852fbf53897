// Small helpers on text for readers and their messages. Private to this room.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

namespace perdure::model {

// Length of the UTF-8 sequence at the beginning, 1 to 4; 0 if it is none (RFC 3629: no overlong
// forms, no surrogates, nothing above U+10FFFF) or `text` is empty.
std::size_t utf8_length(std::string_view text);

bool is_utf8(std::string_view text);

// In single quotes, cut off after 60 bytes, control characters as \xNN: fit for one line of a
// message.
std::string quote(std::string_view text);

// Has a byte below 0x20 or 0x7f.
bool has_control_character(std::string_view text);

// The one of `known` that `text` was probably meant to be: the same but for case, '_' and ' ', or
// at most two edits away; empty if none.
std::string_view closest(std::string_view text, std::span<const std::string> known);

// "did you mean 'NAME'?" of the closest; `otherwise` if none is.
std::string did_you_mean(std::string_view text, std::span<const std::string> known, std::string_view otherwise);

// All that do not overlap, from the beginning on.
void replace_all(std::string& text, std::string_view what, std::string_view with);

// Joins with ", ".
std::string join(std::span<const std::string> words);

}  // namespace perdure::model
