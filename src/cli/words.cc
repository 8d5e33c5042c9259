#include "cli/words.h"

#include <array>
#include <cmath>
#include <cstdio>

namespace tidelock {
namespace {

// Tenths of `unit`, as "3.2".
std::string tenths(Nanos duration, Nanos unit, Rounding rounding) {
  const Nanos tenth = unit / 10;
  const Nanos count = duration / tenth + (rounding == Rounding::kUp && duration % tenth != 0 ? 1 : 0);
  return std::to_string(count / 10) + "." + std::to_string(count % 10);
}

// The length of the UTF-8 sequence that begins at `at` and may be shown, 0 when there is none.
std::size_t printable(std::string_view text, std::size_t at) {
  const auto byte = [&](std::size_t i) { return i < text.size() ? static_cast<unsigned char>(text[i]) : 0u; };
  const unsigned first = byte(at);
  if (first < 0x80) return first >= 0x20 && first != 0x7f ? 1 : 0;
  std::size_t length = 0;
  std::uint32_t point = 0, least = 0;
  if ((first & 0xe0) == 0xc0)
    length = 2, point = first & 0x1f, least = 0xa0;  // U+0080 to U+009F are controls
  else if ((first & 0xf0) == 0xe0)
    length = 3, point = first & 0x0f, least = 0x800;
  else if ((first & 0xf8) == 0xf0)
    length = 4, point = first & 0x07, least = 0x10000;
  else
    return 0;
  for (std::size_t i = 1; i < length; ++i) {
    if ((byte(at + i) & 0xc0) != 0x80) return 0;
    point = point << 6 | (byte(at + i) & 0x3f);
  }
  const bool turns = (point >= 0x202a && point <= 0x202e) || (point >= 0x2066 && point <= 0x2069);  // writing direction
  const bool good = point >= least && point <= 0x10ffff && (point < 0xd800 || point > 0xdfff) && !turns;
  return good ? length : 0;
}

}  // namespace

std::string duration_words(Nanos duration, Rounding rounding) {
  if (duration == kForever) return "unbounded";
  if (duration < 0) duration = 0;
  if (duration < kMillisecond) {
    return std::to_string(duration / kMicrosecond + (rounding == Rounding::kUp && duration % kMicrosecond != 0)) +
           " us";
  }
  if (duration < kSecond) return tenths(duration, kMillisecond, rounding) + " ms";
  if (duration < 120 * kSecond) return tenths(duration, kSecond, rounding) + " s";
  if (duration < 7'200 * kSecond) return tenths(duration, 60 * kSecond, rounding) + " min";
  if (duration < 259'200 * kSecond) return tenths(duration, 3'600 * kSecond, rounding) + " h";
  return tenths(duration, 86'400 * kSecond, rounding) + " days";
}

std::string bytes_words(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr std::array kUnits = {"KiB", "MiB", "GiB", "TiB", "PiB"};
  double value = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  while (value >= 1024 && unit + 1 < kUnits.size()) value /= 1024, ++unit;
  std::array<char, 48> text{};
  std::snprintf(text.data(), text.size(), "%.1f %s", value, kUnits[unit]);
  return text.data();
}

std::string count_words(double count) {
  std::array<char, 48> text{};
  if (!std::isfinite(count) || count < 0) count = 0;
  if (count >= 999'950)
    std::snprintf(text.data(), text.size(), "%.1fM", count / 1e6);
  else if (count >= 9'999.5)
    std::snprintf(text.data(), text.size(), "%.1fk", count / 1e3);
  else if (count >= 10 || count == std::floor(count))
    std::snprintf(text.data(), text.size(), "%.0f", count);
  else
    std::snprintf(text.data(), text.size(), "%.1f", count);
  return text.data();
}

bool is_plain_text(std::string_view bytes) {
  for (std::size_t at = 0; at < bytes.size();) {
    if (bytes[at] == '\n' || bytes[at] == '\t') {
      ++at;
      continue;
    }
    const std::size_t length = printable(bytes, at);
    if (length == 0) return false;
    at += length;
  }
  return true;
}

std::string shown_text(std::string_view bytes) {
  if (is_plain_text(bytes)) return std::string(bytes);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\')
      out += "\\\\";
    else if (byte >= 0x20 && byte < 0x7f)
      out += c;
    else
      out += std::string("\\x") + kHex[byte >> 4] + kHex[byte & 15];
  }
  return out;
}

}  // namespace tidelock
