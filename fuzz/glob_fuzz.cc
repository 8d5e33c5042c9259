// Glob patterns against a plain matcher that tries everything: the fast one, which only ever goes back to the last
// star, must agree with it whenever it had the work to finish.
#include <vector>

#include "fuzz/fuzz.h"
#include "wire/resp/glob.h"

namespace tidelock::fuzz {
namespace {

struct Element {
  enum class Kind : std::uint8_t { kStar, kAny, kSet } kind = Kind::kStar;
  std::vector<bool> set;  // kSet: by byte
};

unsigned char lower(unsigned char c) { return c >= 'A' && c <= 'Z' ? static_cast<unsigned char>(c + 32) : c; }

// The pattern as a list: a class is spelled out as the 256 bytes it takes.
std::vector<Element> elements_of(BytesView pattern, bool ignore_case) {
  std::vector<Element> out;
  const auto fold = [&](char c) {
    return ignore_case ? lower(static_cast<unsigned char>(c)) : static_cast<unsigned char>(c);
  };
  for (std::size_t at = 0; at < pattern.size(); ++at) {
    Element element;
    if (pattern[at] == '*') {
      out.push_back(element);
      continue;
    }
    element.kind = Element::Kind::kAny;
    if (pattern[at] == '?') {
      out.push_back(element);
      continue;
    }
    element.kind = Element::Kind::kSet;
    std::vector<bool> folded(256, false);
    bool negated = false;
    if (pattern[at] == '[') {
      ++at;
      if (at < pattern.size() && pattern[at] == '^') negated = true, ++at;
      for (; at < pattern.size() && pattern[at] != ']'; ++at) {
        if (pattern[at] == '\\' && at + 1 < pattern.size()) {
          folded[fold(pattern[++at])] = true;
        } else if (at + 2 < pattern.size() && pattern[at + 1] == '-') {
          const unsigned a = fold(pattern[at]), b = fold(pattern[at + 2]);
          for (unsigned c = std::min(a, b); c <= std::max(a, b); ++c) folded[c] = true;
          at += 2;
        } else {
          folded[fold(pattern[at])] = true;
        }
      }
    } else {
      if (pattern[at] == '\\' && at + 1 < pattern.size()) ++at;
      folded[fold(pattern[at])] = true;
    }
    element.set.resize(256);
    for (unsigned c = 0; c < 256; ++c) element.set[c] = folded[fold(static_cast<char>(c))] != negated;
    out.push_back(element);
  }
  return out;
}

// reach[i]: the elements before i can be matched by the text so far.
bool plain_match(const std::vector<Element>& elements, BytesView text) {
  std::vector<bool> reach(elements.size() + 1, false);
  const auto through_stars = [&] {
    for (std::size_t i = 0; i < elements.size(); ++i) {
      if (reach[i] && elements[i].kind == Element::Kind::kStar) reach[i + 1] = true;
    }
  };
  reach[0] = true;
  through_stars();
  for (const char c : text) {
    std::vector<bool> next(elements.size() + 1, false);
    for (std::size_t i = 0; i < elements.size(); ++i) {
      if (!reach[i]) continue;
      const Element& element = elements[i];
      if (element.kind == Element::Kind::kStar) next[i] = true;
      if (element.kind == Element::Kind::kAny) next[i + 1] = true;
      if (element.kind == Element::Kind::kSet && element.set[static_cast<unsigned char>(c)]) next[i + 1] = true;
    }
    reach = std::move(next);
    through_stars();
  }
  return reach[elements.size()];
}

}  // namespace

std::vector<Seed> seeds() {
  return {{"stars",
           "\x01"
           "a*b*c\naxxbxxc"},
          {"class",
           "\x01"
           "[a-c]?[^x]\nb1y"},
          {"case",
           "\x03"
           "FEAT*\nfeature:1"},
          {"escape",
           "\x01"
           "a\\*b\na*b"},
          {"open",
           "\x01"
           "[abc\nc"},
          {"dear",
           "\x01"
           "a*a*a*a*a*a*b\naaaaaaaaaaaaaaaaaaaaaa"},
          {"empty",
           "\x01"
           "\n"},
          {"reversed",
           "\x01"
           "[z-a]\\\nm\\"}};
}

void run(BytesView input) {
  Input in(input);
  const bool ignore_case = (in.byte() & 2) != 0;
  const BytesView rest = in.rest();
  const std::size_t line = std::min(rest.find('\n'), rest.size());
  const BytesView pattern = rest.substr(0, std::min<std::size_t>(line, 200));
  const BytesView text = rest.substr(std::min(line + 1, rest.size())).substr(0, 200);
  std::uint64_t work = kGlobWorkDefault;
  const bool fast = glob_match(pattern, text, &work, ignore_case);
  TIDELOCK_ASSERT(work > 0);  // |pattern| * |text| is far below it
  TIDELOCK_ASSERT(kGlobWorkDefault - work <= (pattern.size() + 2) * (text.size() + 2) * 2);
  TIDELOCK_ASSERT(fast == plain_match(elements_of(pattern, ignore_case), text));
  std::uint64_t little = 3;  // X6: no more than it was given, and then no answer
  (void)glob_match(pattern, text, &little, ignore_case);
  TIDELOCK_ASSERT(little <= 3);
}

}  // namespace tidelock::fuzz
