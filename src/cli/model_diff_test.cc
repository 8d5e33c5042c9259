// What `tidelock model diff` prints of releases that the test makes: tensors that stay, move, are new.

#include "cli/model_diff.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "cli/run_fixture.h"
#include "codec/model_file_fixture.h"
#include "store/models/test_folder.h"

namespace tidelock {
namespace {

using model_files::Tensor;
using model_files::weights;

class ModelDiffTest : public testing::Test {
 protected:
  std::string write(const std::string& name, const Bytes& bytes) const {
    const std::filesystem::path path = folder_.path() + "/" + name;
    std::filesystem::create_directories(path.parent_path());
    std::ofstream(path, std::ios::binary) << bytes;
    return path.string();
  }
  std::string at(const std::string& name) const { return folder_.path() + "/" + name; }
  static bool holds(const std::string& text, const std::string& part) { return text.find(part) != std::string::npos; }

  // Two releases: the backbone moved a little, the head is new, the stem stayed; labels stayed, thresholds are new.
  void write_releases() const {
    Rng rng(1);
    std::vector<Tensor> tensors = {{"stem.weight", ElementType::kF32, weights(rng, ElementType::kF32, 1'000)},
                                   {"backbone.weight", ElementType::kF32, weights(rng, ElementType::kF32, 20'000)}};
    write("v1/model.onnx", model_files::onnx(tensors));
    model_files::nudge(rng, tensors[1].bytes, ElementType::kF32, 1, 300);
    tensors.push_back({"head.weight", ElementType::kF32, weights(rng, ElementType::kF32, 5'000)});
    write("v2/model.onnx", model_files::onnx(tensors));
    for (const char* version : {"v1", "v2"}) write(std::string(version) + "/labels.txt", "car\nbus\n");
    write("v2/thresholds.json", "{\"car\": 0.5}");
    write("v2/.cache/left-out", Bytes(10'000, 'x'));
  }

  const TestFolder folder_;
};

TEST_F(ModelDiffTest, SaysHowEachTensorTravels) {
  write_releases();
  const Ran ran = run({"model", "diff", at("v1"), at("v2")});
  ASSERT_EQ(ran.code, 0) << ran.err;
  EXPECT_TRUE(holds(ran.out, "labels.txt")) << ran.out;
  EXPECT_TRUE(holds(ran.out, "already there")) << ran.out;
  EXPECT_TRUE(holds(ran.out, "  numeric  float32   backbone.weight")) << ran.out;
  EXPECT_TRUE(holds(ran.out, "  full     float32   head.weight")) << ran.out;
  EXPECT_FALSE(holds(ran.out, "stem.weight")) << "what costs nothing has no line of its own: " << ran.out;
  EXPECT_TRUE(holds(ran.out, "saves")) << ran.out;
  EXPECT_FALSE(holds(ran.out, "left-out")) << ran.out;
  EXPECT_TRUE(holds(run({"model", "diff", at("v1"), at("v2"), "--all"}).out, "  same     float32   stem.weight"));
}

TEST_F(ModelDiffTest, CountsTheSameInJson) {
  write_releases();
  const Json json = run({"--json", "model", "diff", at("v1"), at("v2")}).json();
  ASSERT_TRUE(json["ok"]) << json;
  ASSERT_EQ(json["files"].size(), 3u);
  std::uint64_t bytes = 0, sends = 0;
  for (const Json& file : json["files"]) {
    bytes += file["bytes"].get<std::uint64_t>();
    sends += file["send_bytes"].get<std::uint64_t>();
    EXPECT_EQ(file["already_there"], file["path"] == "labels.txt") << file;
    std::uint64_t at = 0;
    for (const Json& part : file["parts"]) {
      EXPECT_EQ(part["offset"], at) << "parts cover the file";
      at += part["bytes"].get<std::uint64_t>();
    }
    EXPECT_EQ(file["format"], file["path"] == "model.onnx" ? "onnx" : "bytes");
  }
  EXPECT_EQ(json["bytes"], bytes);
  EXPECT_EQ(json["send_bytes"], sends);
  EXPECT_LT(sends, 20'000u * 12 / 8 + 5'000 * 4);
}

TEST_F(ModelDiffTest, TakesTwoFilesToo) {
  const std::string one = write("a.bin", Bytes(5'000, 'x')), other = write("b.bin", Bytes(5'000, 'x') + "end");
  const Json json = run({"--json", "model", "diff", one, other}).json();
  ASSERT_TRUE(json["ok"]) << json;
  EXPECT_EQ(json["files"][0]["format"], "bytes");
  EXPECT_LT(json["send_bytes"], 120);
  EXPECT_TRUE(holds(run({"model", "diff", one, one}).out, "already there"));
  EXPECT_EQ(run({"--json", "model", "diff", one, write("empty", "")}).json()["bytes"], 0);
}

TEST_F(ModelDiffTest, NamesOfOthersDoNotDriveTheTerminal) {
  const std::string one = write("a", model_files::onnx({{"x", ElementType::kF32, "1234"}}));
  const std::string other = write("b", model_files::onnx({{"\x1b[31m\xff", ElementType::kF32, "12345678"}}));
  const Ran text = run({"model", "diff", one, other, "--all"});
  EXPECT_EQ(text.code, 0);
  EXPECT_FALSE(holds(text.out, "\x1b")) << text.out;
  EXPECT_TRUE(run({"--json", "model", "diff", one, other}).json()["ok"]) << "names need not be UTF-8";
}

TEST_F(ModelDiffTest, SaysWhatIsWrong) {
  write_releases();
  const std::string file = write("file", "x");
  std::filesystem::create_symlink(file, at("link"));
  struct Case {
    const char* why;
    std::string before, after, says;
  };
  const Case cases[] = {{"nothing there", at("v0"), at("v1"), "no such file or folder"},
                        {"the new one is not there", at("v1"), at("v0"), "no such file or folder"},
                        {"a file and a folder", file, at("v1"), "is a file, the other a folder"},
                        {"a link", at("link"), file, "link"}};
  for (const Case& c : cases) {
    const Ran ran = run({"model", "diff", c.before, c.after});
    EXPECT_EQ(ran.code, 1) << c.why;
    EXPECT_TRUE(ran.out.empty()) << c.why;
    EXPECT_TRUE(holds(ran.err, c.says)) << c.why << ": " << ran.err;
    const Json json = run({"--json", "model", "diff", c.before, c.after}).json();
    EXPECT_FALSE(json["ok"]) << c.why;
  }
  EXPECT_EQ(run({"model", "diff", at("v1")}).code, 2) << "one release is not enough";
}

}  // namespace
}  // namespace tidelock
