// What a LinkDisk request costs in CPU, by kind and by where its blocks are; no network.
//   disk_micro [folder [ram-folder]]     defaults: /tmp and /dev/shm
// Sets of 64 MiB, random 4 KiB and 256 KiB pieces, one thread, everything cached.
#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <boost/asio/io_context.hpp>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <random>

#include "target/disk/link_disk.hpp"
#include "target/store/image_store.hpp"

using namespace goldlink;
using namespace goldlink::disk;

namespace {

constexpr std::uint64_t kSetBytes = 64ull << 20;

double cpu_us() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto us = [](const timeval& t) {
        return static_cast<double>(t.tv_sec) * 1e6 + static_cast<double>(t.tv_usec);
    };
    return us(usage.ru_utime) + us(usage.ru_stime);
}

class Bench {
  public:
    Bench(LinkDisk& disk, boost::asio::io_context& context) : disk_(disk), context_(context) {}

    void run(const char* name, Operation operation, std::uint64_t length, bool random) {
        std::vector<std::uint8_t> data(length);
        for (auto& byte : data) byte = static_cast<std::uint8_t>(random_());
        const std::uint64_t pieces = kSetBytes / length;
        const std::uint64_t count = random ? 100'000 : pieces * 4;
        unsigned pended = 0;
        const double before = cpu_us();
        const auto started = std::chrono::steady_clock::now();
        for (std::uint64_t i = 0; i < count; ++i) {
            Request request;
            bool done = false;
            request.operation = operation;
            request.offset_bytes = (random ? random_() % pieces : i % pieces) * length;
            request.length_bytes = length;
            request.data = data.data();
            request.owner = &done;
            request.complete = [](Request& finished) noexcept {
                *static_cast<bool*>(finished.owner) = true;
            };
            data[8] = static_cast<std::uint8_t>(i);
            done = disk_.submit(request) == Submit::done;
            if (!done) ++pended;
            while (!done) {
                context_.restart();
                context_.run_one();
            }
            if (request.outcome != Outcome::ok) std::abort();
        }
        const double seconds =
            std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count();
        fmt::print("  {:34} {:7.2f} us CPU  {:7.2f} us wall  {:8.0f} MB/s{}\n", name,
                   (cpu_us() - before) / static_cast<double>(count),
                   seconds * 1e6 / static_cast<double>(count),
                   static_cast<double>(count * length) / seconds / 1e6,
                   pended > 0 ? fmt::format("  ({} waited)", pended) : "");
    }

  private:
    LinkDisk& disk_;
    boost::asio::io_context& context_;
    std::mt19937_64 random_{1};
};

}  // namespace

int main(int argc, char** argv) {
    const std::filesystem::path folder = std::filesystem::path(argc > 1 ? argv[1] : "/tmp") /
                                         fmt::format("goldlink-bench-{}", ::getpid());
    const std::filesystem::path ram =
        std::filesystem::path(argc > 2 ? argv[2] : "/dev/shm") / folder.filename();
    std::filesystem::create_directories(folder);
    {
        auto store = store::ImageStore::open(folder / "store");
        if (!store) {
            fmt::print("{}\n", store.error().message);
            return 1;
        }
        std::mt19937_64 random(7);
        {
            std::vector<std::uint64_t> words(kSetBytes / 8);
            for (auto& word : words) word = random();
            FILE* file = std::fopen((folder / "image").c_str(), "wb");
            if (file == nullptr || std::fwrite(words.data(), 8, words.size(), file) != words.size())
                return 1;
            std::fclose(file);
        }
        store::Progress progress;
        const auto started = std::chrono::steady_clock::now();
        const auto info = (*store)->import({folder / "image", "raw"}, progress);
        if (!info) return 1;
        fmt::print(
            "import of {} MiB of raw random data: {:.0f} MB/s\n", kSetBytes >> 20,
            static_cast<double>(kSetBytes) / 1e6 /
                std::chrono::duration<double>(std::chrono::steady_clock::now() - started).count());
        boost::asio::io_context context{1};
        const auto ring = reactor::make_io_ring(context);
        for (const bool keep : {false, true}) {
            LinkDiskOptions options;
            options.version = *(*store)->open_version(info->digest);
            options.policy = keep ? Policy::keep : Policy::discard;
            options.folder = folder / (keep ? "keep" : "discard");
            if (!keep) options.ram_folder = ram;
            options.ram_budget_bytes = 2 * kSetBytes;
            auto disk = LinkDisk::open(options, *ring);
            if (!disk) return 1;
            fmt::print("{} ({}):\n", keep ? "keep" : "discard",
                       keep ? folder.string() : ram.string());
            Bench bench(**disk, context);
            bench.run("4 KiB random read, base", Operation::read, 4096, true);
            bench.run("256 KiB sequential read, base", Operation::read, 256 << 10, false);
            bench.run("4 KiB random write, first + over", Operation::write, 4096, true);
            bench.run("4 KiB random write, overwrite", Operation::write, 4096, true);
            bench.run("4 KiB random read, overlay", Operation::read, 4096, true);
            bench.run("256 KiB sequential write", Operation::write, 256 << 10, false);
            bench.run("256 KiB sequential read, overlay", Operation::read, 256 << 10, false);
        }
    }
    std::filesystem::remove_all(folder);
    std::filesystem::remove_all(ram);
    return 0;
}
