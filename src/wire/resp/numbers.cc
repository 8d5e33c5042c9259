#include "wire/resp/numbers.h"

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstddef>
#include <cstdio>
#include <cstdlib>
#include <limits>

namespace tidelock {

std::optional<std::int64_t> parse_resp_integer(std::string_view text) {
  if (text.empty() || text.size() > 20) return std::nullopt;
  const bool negative = text[0] == '-';
  std::string_view digits = negative ? text.substr(1) : text;
  if (digits.empty()) return std::nullopt;
  if (digits[0] == '0') {
    if (digits.size() == 1 && !negative) return 0;
    return std::nullopt;
  }
  std::uint64_t value = 0;
  for (const char c : digits) {
    if (c < '0' || c > '9') return std::nullopt;
    const auto digit = static_cast<std::uint64_t>(c - '0');
    if (value > (std::numeric_limits<std::uint64_t>::max() - digit) / 10) return std::nullopt;
    value = value * 10 + digit;
  }
  constexpr auto kMax = static_cast<std::uint64_t>(std::numeric_limits<std::int64_t>::max());
  if (negative) {
    if (value > kMax + 1) return std::nullopt;
    return static_cast<std::int64_t>(~value + 1);
  }
  if (value > kMax) return std::nullopt;
  return static_cast<std::int64_t>(value);
}

std::optional<long double> parse_resp_float(std::string_view text) {
  if (text.empty() || text.size() >= kRespFloatBytesMax) return std::nullopt;
  const char first = text[0];
  if (first == ' ' || (first >= '\t' && first <= '\r')) return std::nullopt;
  const std::string whole(text);  // ends with NUL; one inside ends the number before the text does
  char* end = nullptr;
  errno = 0;
  const long double value = std::strtold(whole.c_str(), &end);
  if (end != whole.c_str() + whole.size() || std::isnan(value)) return std::nullopt;
  if (errno == ERANGE && (std::isinf(value) || value == 0)) return std::nullopt;
  return value;
}

std::string resp_float_text(long double value) {
  if (std::isinf(value)) return value > 0 ? "inf" : "-inf";
  std::string text(kRespFloatBytesMax, '\0');  // the largest long double has 4,933 digits before the point
  const int size = std::snprintf(text.data(), text.size(), "%.17Lf", value);
  text.resize(size < 0 ? 0 : std::min(static_cast<std::size_t>(size), text.size() - 1));
  if (text.find('.') != std::string::npos) {
    text.resize(text.find_last_not_of('0') + 1);
    if (text.back() == '.') text.pop_back();
  }
  return text == "-0" ? "0" : text;
}

bool constant_time_equal(std::string_view given, std::string_view secret) {
  // As many steps as `given` is long, whatever `secret` is.
  volatile unsigned char difference = given.size() == secret.size() ? 0 : 1;
  for (std::size_t i = 0; i < given.size(); ++i) {
    const char other = secret.empty() ? '\0' : secret[i % secret.size()];
    difference = static_cast<unsigned char>(difference |
                                            (static_cast<unsigned char>(given[i]) ^ static_cast<unsigned char>(other)));
  }
  return difference == 0;
}

bool equal_ignoring_case(std::string_view a, std::string_view b) {
  const auto lower = [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; };
  return a.size() == b.size() &&
         std::equal(a.begin(), a.end(), b.begin(), [&](char x, char y) { return lower(x) == lower(y); });
}

}  // namespace tidelock
