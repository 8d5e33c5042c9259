// The whole of what the demo needs of a model: built by camera-assets, published, verified, run on the clip, told apart
// by the rule of versions.md.
#include "examples/camera/clip.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "codec/signature.h"
#include "store/models/release.h"

namespace tidelock::camera {
namespace {

namespace fs = std::filesystem;
std::string assets_program;

std::string scratch() {
  static const std::string folder = [] {
    std::string path = (fs::temp_directory_path() / "tidelock-camera-XXXXXX").string();
    if (::mkdtemp(path.data()) == nullptr) std::abort();
    return path;
  }();
  return folder;
}
std::string release_of(const std::string& version) {
  const std::string folder = scratch() + "/" + version;
  if (!fs::exists(folder)) {
    const std::string command =
        "'" + assets_program + "' --release '" + folder + "' --version " + version + " > /dev/null";
    EXPECT_EQ(std::system(command.c_str()), 0);
  }
  return folder;
}
std::unique_ptr<Model> model_of(const std::string& version) {
  auto model = (*open_engine({"opencv", ""}))->load_file(release_of(version) + "/model.onnx");
  EXPECT_TRUE(model) << model.error().message;
  return model ? std::move(*model) : nullptr;
}
std::vector<Tensor> run(Model& model, const Frame& frame) {
  const TensorView views[] = {input_of(frame)};
  return *model.run(views);
}
// versions.md, written a second time.
std::string version_by_rule(const std::vector<float>& signature, const std::array<float, 3>& stat) {
  int code = 0;
  for (int k = 0; k < 16; ++k) code |= signature[static_cast<std::size_t>(k)] > 0 ? 1 << k : 0;
  for (int k = 0; k < 16; ++k) {
    double expected = (code >> k & 1) != 0 ? 4 : -4;
    for (int c = 0; c < 3; ++c)
      expected += ((7 * code + 5 * k + 3 * c) % 11 - 5) / 10.0 * stat[static_cast<std::size_t>(c)];
    if (std::abs(expected - signature[static_cast<std::size_t>(k)]) > 0.01) return "none";
  }
  return std::to_string(code / 1024) + "." + std::to_string(code / 32 % 32) + "." + std::to_string(code % 32);
}

TEST(Clip, IsTheSameEachTimeAndItsTruthFits) {
  const Clip one({1, 4, 1}), again({1, 4, 1}), other({2, 4, 1});
  for (const std::uint64_t n : {0u, 1u, 63u, 100'000u}) {
    const Frame frame = one.frame(n);
    EXPECT_EQ(frame.pixels, again.frame(n).pixels);
    EXPECT_NE(frame.pixels, other.frame(n).pixels);
    double sum = 0;
    for (std::size_t i = 0; i < frame.pixels.size() / 3; ++i) sum += frame.pixels[i];
    EXPECT_NEAR(frame.mean[0], sum / (160 * 160), 1e-5);
    for (const ClipObject& object : frame.objects) {
      EXPECT_GE(object.box.x, 0);
      EXPECT_LE(object.box.x + object.box.width, kFramePixels);
      EXPECT_LE(object.box.y + object.box.height, kFramePixels);
    }
  }
}

TEST(Clip, LetsObjectsWanderFromCameraToCamera) {
  std::map<std::uint32_t, std::set<int>> seen;
  std::size_t shown = 0;
  for (int camera = 0; camera < 4; ++camera) {
    const Clip clip({camera, 4, 1});
    for (std::uint64_t n = 0; n < 320; ++n) {
      for (const ClipObject& object : clip.frame(n).objects) {
        seen[object.id].insert(camera);
        ++shown;
      }
    }
  }
  EXPECT_EQ(seen.size(), Clip({0, 4, 1}).object_ids().size()) << "every object comes past";
  for (const auto& [id, cameras] : seen) EXPECT_GE(cameras.size(), 3u) << "object " << id;
  EXPECT_GT(shown, 4u * 320u) << "on average more than one in each frame";
}

TEST(CameraModel, TellsItsVersionByItsOutputs) {
  const Clip clip({});
  for (const char* version : {"1.0.0", "2.0.0", "3.1.4"}) {
    const auto model = model_of(version);
    ASSERT_NE(model, nullptr);
    for (const std::uint64_t n : {0u, 17u, 50u}) {
      const Frame frame = clip.frame(n);
      const auto outputs = run(*model, frame);
      EXPECT_EQ(version_by_rule(find_tensor(outputs, "signature")->values, frame.mean), version);
      EXPECT_EQ(version_by_rule(find_tensor(outputs, "signature")->values, {0.9f, 0.1f, 0.9f}), "none")
          << "another frame's means";
    }
  }
}

TEST(CameraModel, DiffersInEveryOutputBetweenVersions) {
  const Frame frame = Clip({}).frame(5);
  const auto one = run(*model_of("1.0.0"), frame), two = run(*model_of("2.0.0"), frame);
  ASSERT_EQ(one.size(), 4u);
  for (std::size_t t = 0; t < one.size(); ++t) {
    double largest = 0;
    for (std::size_t i = 0; i < one[t].values.size(); ++i)
      largest = std::max(largest, std::abs(double{one[t].values[i]} - two[t].values[i]));
    EXPECT_GT(largest, 0.01) << one[t].name;
  }
}

TEST(CameraModel, FindsTheObjectsThatAreThere) {
  const auto model = model_of("2.0.0");
  int truths = 0, found = 0, ghosts = 0;
  for (int camera = 0; camera < 4; ++camera) {
    const Clip clip({camera, 4, 1});
    for (std::uint64_t n = 0; n < 200; n += 7) {
      const Frame frame = clip.frame(n);
      const auto outputs = run(*model, frame);
      const auto detections = decode_detections(*find_tensor(outputs, "detections"));
      const auto covers = [](const Box& outer, const Box& box) {
        const float x = box.x + box.width / 2, y = box.y + box.height / 2;
        return x >= outer.x - 8 && x <= outer.x + outer.width + 8 && y >= outer.y - 8 &&
               y <= outer.y + outer.height + 8;
      };
      for (const ClipObject& object : frame.objects) {
        ++truths;
        found += std::any_of(detections.begin(), detections.end(),
                             [&](const Detection& d) {
                               return d.class_number == object.class_number && covers(d.box, object.box);
                             })
                     ? 1
                     : 0;
        EXPECT_EQ(object_embedding(*find_tensor(outputs, "features"), object.box).size(), 32u);
      }
      for (const Detection& d : detections) {
        ghosts += std::none_of(frame.objects.begin(), frame.objects.end(),
                               [&](const ClipObject& object) { return covers(object.box, d.box); })
                      ? 1
                      : 0;
      }
    }
  }
  EXPECT_GT(found * 100, truths * 85) << found << " of " << truths;
  EXPECT_LT(ghosts * 100, truths * 10) << ghosts << " ghosts beside " << truths;
}

TEST(CameraModel, PassesThePublishersRoadAndItsGoldenOutputs) {  // M1, M4
  const SigningKey key = *make_signing_key();
  const auto release = build_release(release_of("2.0.0"), "detector", "2.0.0", key.private_pem);
  ASSERT_TRUE(release) << release.error().message;
  const auto manifest = open_manifest(release->signed_manifest, key.public_pem);
  ASSERT_TRUE(manifest) << manifest.error().message;
  ASSERT_EQ(manifest->golden.size(), 1u);
  EXPECT_EQ(manifest->golden[0].outputs.size(), 4u);
  const auto read = [](const ManifestFile& file) { return read_release_file(release_of("2.0.0"), file); };
  for (const EngineInfo& info : engines()) {
    if (!info.available) continue;
    const auto model = (*open_engine({info.name, ""}))->load_file(release_of("2.0.0") + "/model.onnx");
    ASSERT_TRUE(model) << model.error().message;
    const auto ok = verify_golden(*manifest, **model, read);
    EXPECT_TRUE(ok) << info.name << ": " << ok.error().message;
  }
  EXPECT_FALSE(verify_golden(*manifest, *model_of("1.0.0"), read)) << "another version's weights";
}

TEST(CameraModel, IsTheSameBytesEachTime) {
  const std::string twin = scratch() + "/twin";
  ASSERT_EQ(std::system(("'" + assets_program + "' --release '" + twin + "' --version 2.0.0 > /dev/null").c_str()), 0);
  const SigningKey key = *make_signing_key();
  EXPECT_EQ(build_release(twin, "detector", "2.0.0", key.private_pem)->signed_manifest,
            build_release(release_of("2.0.0"), "detector", "2.0.0", key.private_pem)->signed_manifest);
}

}  // namespace
}  // namespace tidelock::camera

int main(int argc, char** argv) {
  ::testing::InitGoogleTest(&argc, argv);
  if (argc != 2) {
    std::fprintf(stderr, "usage: camera_clip_test CAMERA_ASSETS\n");
    return 2;
  }
  tidelock::camera::assets_program = argv[1];
  const int result = RUN_ALL_TESTS();
  std::filesystem::remove_all(tidelock::camera::scratch());
  return result;
}
