// One pattern element is matched at a time; on a mismatch the last `*` takes one byte more. Going back to the last star
// only is enough: an earlier star can gain nothing that the last one could not, since what stands between them has
// matched.
#include "wire/resp/glob.h"

#include <cstddef>
#include <utility>

namespace tidelock {
namespace {

unsigned char folded(char c, bool ignore_case) {
  if (ignore_case && c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
  return static_cast<unsigned char>(c);
}

// Matches the class that starts at pattern[at] == '[' against `c`; `*end` is one past it. A class without ']' reaches
// to the end of the pattern, as in Redis.
bool class_matches(std::string_view pattern, std::size_t at, char c, bool ignore_case, std::size_t* end) {
  ++at;
  const bool negated = at < pattern.size() && pattern[at] == '^';
  if (negated) ++at;
  const unsigned char wanted = folded(c, ignore_case);
  bool found = false;
  for (; at < pattern.size() && pattern[at] != ']'; ++at) {
    if (pattern[at] == '\\' && at + 1 < pattern.size()) {
      found |= folded(pattern[++at], ignore_case) == wanted;
    } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
      unsigned char low = folded(pattern[at], ignore_case), high = folded(pattern[at + 2], ignore_case);
      if (low > high) std::swap(low, high);
      found |= low <= wanted && wanted <= high;
      at += 2;
    } else {
      found |= folded(pattern[at], ignore_case) == wanted;
    }
  }
  *end = at < pattern.size() ? at + 1 : at;
  return found != negated;
}

bool element_matches(std::string_view pattern, std::size_t at, char c, bool ignore_case, std::size_t* end) {
  switch (pattern[at]) {
    case '?': *end = at + 1; return true;
    case '[': return class_matches(pattern, at, c, ignore_case, end);
    case '\\':
      if (at + 1 < pattern.size()) ++at;
      [[fallthrough]];
    default: *end = at + 1; return folded(pattern[at], ignore_case) == folded(c, ignore_case);
  }
}

}  // namespace

bool glob_match(std::string_view pattern, std::string_view text, std::uint64_t* work, bool ignore_case) {
  std::size_t p = 0, t = 0;
  std::size_t after_star = std::string_view::npos, star_text = 0;
  while (t < text.size()) {
    std::size_t end = p;
    bool matches = false;
    std::uint64_t cost = 1;
    if (p < pattern.size() && pattern[p] == '*') {
      after_star = ++p;
      star_text = t;
      if (p == pattern.size()) return *work != 0;  // a star at the end takes the rest
    } else {
      matches = p < pattern.size() && element_matches(pattern, p, text[t], ignore_case, &end);
      cost += end - p;  // a long class is dear
      if (matches) {
        p = end;
        ++t;
      } else if (after_star != std::string_view::npos) {
        p = after_star;
        t = ++star_text;
      } else {
        return false;
      }
    }
    if (*work <= cost) return *work = 0, false;  // X6
    *work -= cost;
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size() && *work != 0;
}

}  // namespace tidelock
