// Bundles of a model version, as a stick brings them: libarchive reads them, and the manifest says what may be in them.
// Whatever the bytes, only what the manifest was signed for comes out: its files, of their lengths and hashes.
#include <filesystem>
#include <map>
#include <memory>
#include <string>

#include "codec/signature.h"
#include "fuzz/fuzz.h"
#include "fuzz/shared_file.h"
#include "store/bundle/bundle.h"
#include "store/models/files.h"

namespace tidelock::fuzz {
namespace {

namespace fs = std::filesystem;

// Known to everybody, so that the corpus holds bundles that are signed.
constexpr char kPrivatePem[] =
    "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEIG9mIG5vIHNlY3JlY3k6IGZvciBmdXp6aW5nIG9ubHkh\n-----END PRIVATE "
    "KEY-----\n";

const Folder& folder() {
  static const Folder made;
  return made;
}

Bytes content(const std::string& path) { return path == "labels.txt" ? "cat\ndog\n" : Bytes(3'000, 'm'); }

// The only one that this key ever signed.
const Manifest& manifest() {
  static const Manifest made = [] {
    Manifest m;
    m.name = "camera";
    m.version = "2.0.0";
    m.files = {{"model.onnx", FileRole::kModel, 3'000, sha256(content("model.onnx"))},
               {"labels.txt", FileRole::kLabels, 8, sha256(content("labels.txt"))},
               {"golden/a/input.x.1.f32", FileRole::kGolden, 3'000, sha256(content("golden"))}};
    return m;
  }();
  return made;
}

Bytes packed(const std::string& name) {
  const std::string path = folder().path() + "/" + name;
  const auto writer = BundleWriter::create(path, encode(*sign_manifest(manifest(), kPrivatePem)), manifest());
  TIDELOCK_ASSERT(writer);
  for (const ManifestFile& file : manifest().files)
    TIDELOCK_ASSERT((*writer)->begin(file) && (*writer)->write(content(file.path)));
  TIDELOCK_ASSERT((*writer)->finish());
  Bytes bytes = *files::read_all(path, 1u << 20);
  fs::remove(path);
  return bytes;
}
const Bytes& good(bool zip) {
  static const Bytes of_zip = packed("good.zip"), of_tar = packed("good.tar");
  return zip ? of_zip : of_tar;
}

// Whether all of it came out.
bool read(BytesView bytes) {
  static const std::string public_pem = *public_key_of(kPrivatePem);
  const std::string path = folder().path() + "/bundle";
  TIDELOCK_ASSERT(files::replace(path, bytes));
  const auto bundle = BundleReader::open(path, public_pem);
  if (!bundle) return false;
  TIDELOCK_ASSERT((*bundle)->manifest() == manifest());
  std::map<std::string, Bytes> came;
  std::size_t whole = 0;
  const auto done = (*bundle)->extract(
      [&](const ManifestFile& file) -> Result<BundleReader::Sink> {
        TIDELOCK_ASSERT(find_file(manifest(), file.path) != nullptr && !came.contains(file.path));
        Bytes& into = came[file.path];
        const std::uint64_t most = file.size_bytes;
        return BundleReader::Sink([&into, most](BytesView piece) -> Result<void> {
          into += piece;
          TIDELOCK_ASSERT(into.size() <= most);
          return {};
        });
      },
      [&](const ManifestFile& file) -> Result<void> {
        TIDELOCK_ASSERT(came.at(file.path) == content(file.path));
        ++whole;
        return {};
      });
  TIDELOCK_ASSERT(!done || whole == manifest().files.size());
  // And again as a folder, whose files are these or nothing more.
  const std::string out = folder().path() + "/out";
  const auto again = BundleReader::open(path, public_pem);
  TIDELOCK_ASSERT(again && extract_bundle(**again, out).has_value() == done.has_value());
  for (const auto& entry : fs::recursive_directory_iterator(out)) {
    TIDELOCK_ASSERT(!entry.is_symlink());
    if (!entry.is_directory())
      TIDELOCK_ASSERT(find_file(manifest(), fs::relative(entry.path(), out).string()) != nullptr);
  }
  fs::remove_all(out);
  return done.has_value();
}

}  // namespace

std::vector<Seed> seeds() {
  return {{"zip", number(0, 1) + good(true)},
          {"tar", number(0, 1) + good(false)},
          {"cut", number(1, 1) + number(500, 2)},
          {"touched_zip", number(2, 1) + number(40, 2) + number(1, 1) + number(900, 2) + number(7, 1)},
          {"touched_tar", number(3, 1) + number(124, 2) + number(1, 1)}};
}

void run(BytesView input) {
  Input in(input);
  static const bool sound = read(good(true)) && read(good(false));
  TIDELOCK_ASSERT(sound);
  const std::uint8_t how = in.byte();
  if (how % 4 == 0) return (void)read(in.rest());
  Bytes bytes = good(how % 2 == 0);
  if (how % 4 == 1)
    return (void)read(BytesView(bytes).substr(0, static_cast<std::size_t>(in.number(2)) % (bytes.size() + 1)));
  for (int i = 0; i < 16 && !in.empty(); ++i) {  // a few bytes changed anywhere
    const std::size_t at = static_cast<std::size_t>(in.number(2)) % bytes.size();
    bytes[at] = static_cast<char>(bytes[at] ^ in.byte());
  }
  (void)read(bytes);
}

}  // namespace tidelock::fuzz
