// A process that runs a model through a handle, for what processes take of memory. Also makes the release that is held.
//
//   bench-holder release DIR VERSION [MIB]     a model of MIB (30) of weights and 4 KiB of input
//   bench-holder hold RUN_DIR ENGINE           a process of a gateway that runs a model
//
// On stdin of `hold`: "open MODEL" opens a handle in the place of the one before and runs frames, "frames N" runs N
// more, "close" lets the model go. Each answers one line, "ok VERSION P50_US MAX_US" of its frames. It ends with its
// stdin.
#include <malloc.h>
#include <time.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/rng.h"
#include "infer/onnx_file.h"
#include "tidelock/client.h"
#include "tidelock/model.h"

namespace {

using namespace tidelock;

constexpr std::int64_t kChannels = 512;  // a convolution of 1x1 from and to so many: 1 MiB of weights

[[noreturn]] void die(const std::string& why) {
  std::fprintf(stderr, "bench-holder: %s\n", why.c_str());
  std::exit(1);
}
double now_us() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_nsec) / 1e3;
}

void make_release(const std::string& folder, const std::string& version, int mib) {
  Rng rng(hash64(version));
  OnnxBuilder b;
  const std::int64_t shape[] = {1, kChannels, 1, 2}, weights_shape[] = {kChannels, kChannels, 1, 1};
  b.input("x", shape);
  std::string at = "x";
  for (int i = 0; i < mib; ++i) {
    std::vector<float> weights(static_cast<std::size_t>(kChannels * kChannels));
    // The gain of a layer is about one, so that values neither vanish nor explode.
    for (float& w : weights) w = (static_cast<float>(rng.below(2'001)) - 1'000) / 1'000 * 0.0765f;
    const std::string out = i + 1 == mib ? "y" : "t" + std::to_string(i);
    b.weights(out + ".w", weights_shape, weights);
    b.node("Conv", {at, out + ".w"}, {out}, {onnx_ints("kernel_shape", {1, 1})});
    at = out;
  }
  b.output("y", shape);
  std::filesystem::create_directories(folder);
  std::ofstream out(folder + "/model.onnx", std::ios::binary);
  out << b.finish("held");
  if (!out.flush()) die(folder + ": cannot be written");
}

void hold(const std::string& run_dir, const std::string& engine) {
  auto client = Client::connect({.run_dir = run_dir});
  if (!client) die(client.error().message);
  std::unique_ptr<ModelHandle> handle;
  std::printf("ready\n");
  std::fflush(stdout);
  const std::vector<float> values(static_cast<std::size_t>(kChannels * 2), 0.5f);
  const std::int64_t shape[] = {1, kChannels, 1, 2};
  char line[128];
  while (std::fgets(line, sizeof line, stdin) != nullptr) {
    const std::string word(line, std::string_view(line).find_last_not_of("\n") + 1);
    int frames = 20;
    if (word == "close") {
      handle.reset();
      ::malloc_trim(0);
      frames = 0;
    } else if (word.starts_with("open ")) {
      handle.reset();
      auto opened = ModelHandle::open(**client, word.substr(5),
                                      {.engine = engine, .first_timeout_ms = 60'000, .share_weights = true});
      if (!opened) die(opened.error().message);
      handle = std::move(*opened);
    } else if (word.starts_with("frames ") && handle) {
      frames = std::atoi(word.c_str() + 7);
    } else {
      die("'" + word + "': must be open MODEL, frames N of an open one, or close");
    }
    std::vector<double> took = {0};
    std::string version = "-";
    for (int i = 0; i < frames; ++i) {
      const double began = now_us();
      const auto use = handle->acquire();
      if (!use) die(use.error().message);
      const TensorView input[] = {{"x", shape, values}};
      const auto outputs = use->model->run(input);
      if (!outputs) die(outputs.error().message);
      took.push_back(now_us() - began);
      version = use->receipt.version;
    }
    std::sort(took.begin(), took.end());
    std::printf("ok %s %.1f %.1f\n", version.c_str(), took[took.size() / 2], took.back());
    std::fflush(stdout);
  }
}

}  // namespace

int main(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  if (what == "release" && (argc == 4 || argc == 5)) {
    const int mib = argc == 5 ? std::atoi(argv[4]) : 30;
    if (mib < 1 || mib > 512) die("MIB must be 1 to 512");
    make_release(argv[2], argv[3], mib);
  } else if (what == "hold" && argc == 4) {
    hold(argv[2], argv[3]);
  } else {
    die("usage: bench-holder release DIR VERSION [MIB] | hold RUN_DIR ENGINE");
  }
  return 0;
}
