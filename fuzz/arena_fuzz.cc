// An arena whose words were changed anywhere, before a reader of another process. It finds nothing, or it finds an
// entry of that very key within the memory (which ends where the sanitizer sees it); an untouched arena gives what was
// put in.
#include <memory>

#include "fuzz/fuzz.h"
#include "fuzz/shared_file.h"
#include "memory/arena.h"

namespace tidelock::fuzz {
namespace {

constexpr std::size_t kMemoryBytes = 16u << 10;
constexpr const char* kKeys[] = {"a", "config:limit", "feature:1", "feature:2", "model:cam:current@default"};

struct Memory {
  // Just as long as the shape says, so that a step beyond is a fault.
  RingShape shape = RingShape::within(kMemoryBytes);
  std::unique_ptr<char, void (*)(void*)> bytes{
      static_cast<char*>(std::aligned_alloc(64, shape.size_bytes() / 64 * 64 + 64)), std::free};
  std::unique_ptr<RingWriter> writer;
  Bytes sound;
  Memory() {
    std::memset(bytes.get(), 0, shape.size_bytes());
    writer = std::make_unique<RingWriter>(bytes.get(), shape);
    EntryMeta meta;
    for (int round = 0; round < 40; ++round) {  // far enough around that records lie before and behind the seam
      for (const char* key : kKeys) {
        meta.version.value += 1;
        TIDELOCK_ASSERT(writer->put(key, hash64(key), Bytes(static_cast<std::size_t>(round), 'v') + key, meta));
      }
    }
    sound.assign(bytes.get(), shape.size_bytes());
  }
};

Bytes patch(std::size_t word, std::uint64_t value) { return number(word, 2) + number(value, 8); }

}  // namespace

std::vector<Seed> seeds() {
  std::vector<Seed> out = {
      {"sound", number(0, 1)},
      {"tail", number(0, 1) + patch(0, 0)},
      {"far_tail", number(0, 1) + patch(0, ~0ull)},
      {"header", number(1, 1) + number(16, 3) + Bytes(8, '\xFF')},
      {"shape", number(1, 1) + number(32, 3) + number(1ull << 27, 8) + number(40, 3) + number(1ull << 39, 8)}};
  // Index words that point all over.
  Bytes index = number(0, 1);
  const RingShape shape = RingShape::within(kMemoryBytes);
  for (std::size_t word = shape.index_at() / 8; word < shape.size_bytes() / 8; word += 3) {
    index += patch(word, word * 0x0123'4567'89AB'CDEFull);
  }
  out.push_back({"index", index});
  out.push_back({"many_buckets", number(0, 1) + patch(1, ~0ull)});
  out.push_back({"no_buckets", number(0, 1) + patch(1, 0)});
  return out;
}

void run(BytesView input) {
  static Memory memory;
  static Folder folder;
  static const std::string path = folder.path() + "/arena";
  static ArenaWriter arena = [] {
    ArenaWriter made = *ArenaWriter::create({path, Boot{7}, kArenaBytesMin});
    for (const char* key : kKeys) made.put(key, key, {});
    return made;
  }();
  static SharedFile file(path);
  Input in(input);
  std::string value;
  EntryMeta meta;
  if (in.byte() & 1) {  // the whole file, its header above all
    while (!in.empty()) {
      const auto at = static_cast<std::size_t>(in.number(3));
      file.put(at, in.take(8));
    }
    if (const auto reader = ArenaReader::open(path)) {
      for (const char* key : kKeys) (void)reader->get(key, value, meta);
    }
    file.restore();
    return;
  }
  bool touched = false;
  while (!in.empty()) {
    const std::size_t word = static_cast<std::size_t>(in.number(2)) % (memory.shape.size_bytes() / 8);
    const std::uint64_t patched = in.number(8);
    std::memcpy(memory.bytes.get() + word * 8, &patched, 8);
    touched = true;
  }
  const RingView view(memory.bytes.get(), memory.shape);
  for (const char* key : kKeys) {
    const Lookup found = view.get(key, hash64(key), value, meta);
    if (!touched) TIDELOCK_ASSERT(found == Lookup::kFound && value == Bytes(39, 'v') + key);
    if (found == Lookup::kFound) TIDELOCK_ASSERT(value.size() <= memory.shape.record_words_max() * 8 * 16);
  }
  if (touched) std::memcpy(memory.bytes.get(), memory.sound.data(), memory.sound.size());
}

}  // namespace tidelock::fuzz
