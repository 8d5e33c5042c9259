// M9: what processes share of a model's weights, and that sharing never changes a result.
#include "infer/shared_weights.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/rng.h"
#include "infer/engine.h"
#include "infer/onnx_file.h"

namespace tidelock {
namespace {

constexpr std::int64_t kChannels = 128;

// Convolutions of 64 KiB of weights each, and one small one.
Bytes model(std::uint64_t seed, int layers = 4) {
  Rng rng(seed);
  OnnxBuilder b;
  const std::int64_t in[] = {1, kChannels, 4, 4};
  b.input("x", in);
  std::string at = "x";
  const auto conv = [&](std::int64_t from, std::int64_t to, const std::string& out) {
    std::vector<float> weights(static_cast<std::size_t>(from * to));
    for (float& w : weights) w = (static_cast<float>(rng.below(2'001)) - 1'000) / 10'000;
    const std::int64_t shape[] = {to, from, 1, 1};
    b.weights(out + ".w", shape, weights);
    b.node("Conv", {at, out + ".w"}, {out}, {onnx_ints("kernel_shape", {1, 1})});
    at = out;
  };
  for (int i = 0; i < layers; ++i) conv(kChannels, kChannels, "t" + std::to_string(i));
  conv(kChannels, 4, "y");
  const std::int64_t out[] = {1, 4, 4, 4};
  b.output("y", out);
  return b.finish("weights");
}
std::vector<float> outputs(Model& model) {
  std::vector<float> pixels(static_cast<std::size_t>(kChannels * 16));
  for (std::size_t i = 0; i < pixels.size(); ++i) pixels[i] = static_cast<float>(i % 13) / 13;
  const std::int64_t shape[] = {1, kChannels, 4, 4};
  const TensorView input[] = {{"x", shape, pixels}};
  const auto got = model.run(input);
  EXPECT_TRUE(got) << got.error().message;
  return got ? got->at(0).values : std::vector<float>{};
}
// Bytes of `path` in this process's memory that are the file's own pages: not copied because somebody wrote to them.
std::uint64_t file_bytes_of(const std::string& path) {
  std::ifstream maps("/proc/self/smaps");
  std::int64_t bytes = 0;
  bool ours = false;
  for (std::string line; std::getline(maps, line);) {
    const bool head = line.find('-') < 20 && line.find('-') < line.find(' ') && line.find(' ') < line.find(':');
    if (head) {
      ours = line.ends_with(path);
    } else if (ours && (line.starts_with("Rss:") || line.starts_with("Anonymous:"))) {
      std::istringstream words(line.substr(line.find(':') + 1));
      std::int64_t kib = 0;
      words >> kib;
      bytes += (line[0] == 'R' ? kib : -kib) * 1'024;
    }
  }
  return static_cast<std::uint64_t>(bytes);
}

class SharedWeightsTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string path = (std::filesystem::temp_directory_path() / "tidelock-weights-XXXXXX").string();
    ASSERT_NE(::mkdtemp(path.data()), nullptr);
    folder_ = path;
  }
  void TearDown() override { std::filesystem::remove_all(folder_); }
  void place(const Bytes& bytes) const { std::ofstream(path(), std::ios::binary | std::ios::trunc) << bytes; }
  std::string path() const { return folder_ + "/" + kWeightsFileName; }
  std::string folder_;
};

TEST_F(SharedWeightsTest, TheFileHoldsEachLargeTensorAtAPage) {
  const Bytes onnx = model(1);
  const auto file = weights_file_of(onnx);
  ASSERT_TRUE(file) << file.error().message;
  EXPECT_EQ(file->size(), 4u * 65'536);
  place(*file);
  const auto weights = SharedWeights::open(onnx, path());
  ASSERT_TRUE(weights) << weights.error().message;
  ASSERT_EQ((*weights)->pieces().size(), 4u) << "the small one is left out";
  for (const auto& piece : (*weights)->pieces()) {
    EXPECT_EQ(piece.at % static_cast<std::uint64_t>(::sysconf(_SC_PAGESIZE)), 0u);
    EXPECT_EQ(std::memcmp((*weights)->data(piece), onnx.data() + piece.tensor.offset, piece.tensor.size_bytes), 0);
  }
  OnnxBuilder small;
  const std::int64_t shape[] = {1, 2};
  small.input("x", shape);
  small.output("y", shape);
  small.node("Relu", {"x"}, {"y"});
  EXPECT_TRUE(weights_file_of(small.finish("small"))->empty());
  EXPECT_EQ(weights_file_of("no model").error().code, Code::kCorrupt);
}

TEST_F(SharedWeightsTest, AFileThatIsNotThisModelsIsNotTaken) {  // X3
  const Bytes onnx = model(1);
  const Bytes good = *weights_file_of(onnx);
  EXPECT_EQ(SharedWeights::open(onnx, path()).error().code, Code::kNotFound);
  Bytes flipped = good;
  flipped[flipped.size() - 3] = static_cast<char>(flipped[flipped.size() - 3] ^ 1);
  const struct {
    const char* why;
    Bytes bytes;
  } cases[] = {{"empty", ""},
               {"cut", good.substr(0, good.size() - 1)},
               {"longer", good + "x"},
               {"one bit turned", flipped},
               {"of another version", *weights_file_of(model(2))}};
  for (const auto& c : cases) {
    place(c.bytes);
    const auto refused = SharedWeights::open(onnx, path());
    ASSERT_FALSE(refused) << c.why;
    EXPECT_EQ(refused.error().code, Code::kCorrupt) << c.why;
    EXPECT_NE(refused.error().message.find(path()), std::string::npos) << c.why;
  }
  std::filesystem::remove(path());
  std::filesystem::create_symlink("/dev/zero", path());
  EXPECT_FALSE(SharedWeights::open(onnx, path())) << "a link is not followed";
}

TEST_F(SharedWeightsTest, OnlyPagesWithTheSameBytesAreReplaced) {
  const Bytes onnx = model(1);
  place(*weights_file_of(onnx));
  const auto weights = *SharedWeights::open(onnx, path());
  const std::size_t bytes = weights->pieces()[0].tensor.size_bytes;
  const auto page = [&](const void* from) {
    char* at =
        static_cast<char*>(::mmap(nullptr, 2 * bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
    std::memcpy(at, from, bytes);
    return at;
  };
  char* same = page(weights->data(weights->pieces()[2]));
  char* other = page(weights->data(weights->pieces()[0]));
  other[100] = static_cast<char>(other[100] ^ 1);
  const SharedWeights::Region regions[] = {{same, bytes}, {other, bytes}, {same + 1, bytes}, {other, bytes - 8}};
  EXPECT_EQ(weights->take_place_of(regions), bytes);
  EXPECT_EQ(std::memcmp(same, weights->data(weights->pieces()[2]), bytes), 0);
  other[100] = static_cast<char>(other[100] ^ 1);
  EXPECT_EQ(std::memcmp(other, weights->data(weights->pieces()[0]), bytes), 0) << "left as it was";
  same[0] = static_cast<char>(same[0] ^ 1);  // pages are private: what one process writes nobody else sees
  EXPECT_NE(std::memcmp(same, weights->data(weights->pieces()[2]), bytes), 0);
  EXPECT_TRUE(SharedWeights::open(onnx, path())) << "the file is as it was";
  ::munmap(same, 2 * bytes);
  ::munmap(other, 2 * bytes);
}

TEST_F(SharedWeightsTest, AModelOverSharedWeightsRunsThemAndGivesTheSameOutputs) {  // M9
  const Bytes onnx = model(1);
  place(*weights_file_of(onnx));
  for (const EngineInfo& info : engines()) {
    if (!info.available) continue;
    EngineOptions options;
    options.name = info.name;
    const auto engine = open_engine(options);
    ASSERT_TRUE(engine) << engine.error().message;
    auto own = (*engine)->load(onnx);
    ASSERT_TRUE(own) << own.error().message;
    const std::vector<float> expected = outputs(**own);
    const std::uint64_t before = file_bytes_of(path());
    EXPECT_EQ(before, 0u) << info.name;
    {
      auto weights = *SharedWeights::open(onnx, path());
      auto shared = (*engine)->load_shared(onnx, weights);
      ASSERT_TRUE(shared) << shared.error().message;
      weights.reset();
      EXPECT_EQ(outputs(**shared), expected) << info.name;
      EXPECT_EQ(outputs(**shared), expected) << info.name << ": again";
      // The convolutions ran over the file's pages: they are in this process's memory, and nobody wrote to them.
      EXPECT_GE(file_bytes_of(path()), 4u * 65'536) << info.name;
      // Two models of one version side by side, as during a swap.
      auto second = (*engine)->load_shared(onnx, *SharedWeights::open(onnx, path()));
      ASSERT_TRUE(second) << second.error().message;
      EXPECT_EQ(outputs(**second), expected) << info.name;
      shared->reset();
      EXPECT_EQ(outputs(**second), expected) << info.name << ": the other one is gone";
    }
    EXPECT_EQ(file_bytes_of(path()), 0u) << info.name << ": with the last model its pages are gone";
  }
}

}  // namespace
}  // namespace tidelock
