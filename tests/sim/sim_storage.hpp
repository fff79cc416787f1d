// A disk in memory that misbehaves on purpose, under the real overlay code: it answers late or in
// part, fails, fills up, and loses power. What was not synced is then, sector by sector of 512
// bytes, there or not there; names likewise, in the order they were made.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "target/reactor/io_ring.hpp"
#include "target/store/storage.hpp"

namespace goldlink::sim {

using Random = std::mt19937_64;

// In percent of the calls concerned.
struct Faults {
    unsigned miss = 0;        // read_cached finds nothing in memory
    unsigned short_io = 0;    // a read or write does less than asked
    unsigned read_error = 0;  // EIO
    unsigned write_error = 0;
    unsigned sync_error = 0;  // EIO, and the data will never be written
    unsigned full = 0;        // ENOSPC from writes and allocations
    bool stall = false;       // writes seem to take long, so the disk turns to the ring
};

class SimFile {
  public:
    static constexpr std::uint64_t kCapacity = 8ull << 20;
    static constexpr std::uint64_t kSector = 512;

    SimFile();
    std::uint8_t* bytes() { return now_.get(); }
    std::uint64_t size() const { return size_; }
    void resize(std::uint64_t size);
    void write(std::uint64_t offset, const std::uint8_t* data, std::size_t length);
    void sync(bool ok);
    void write_back_some(Random& random);
    void lose_power(Random& random);
    void rot(std::uint64_t offset);  // a byte changes by itself, on the disk and in memory

  private:
    using Buffer = std::unique_ptr<std::uint8_t[], void (*)(void*)>;
    Buffer now_, durable_;
    std::uint64_t size_ = 0, durable_size_ = 0;
    std::map<std::uint64_t, std::string> lost_;  // sector -> bytes a failed sync took for written
    bool is_lost(std::uint64_t sector) const;
    void make_durable(std::uint64_t sector);
};

class SimStorage final : public store::Storage {
  public:
    explicit SimStorage(Random& random) : random_(random) {}

    Faults faults;
    bool map_files = true;
    bool memory_backed_files = false;
    std::int64_t calls_until_dead = -1;  // then every call fails: a crash in the middle of work
    std::function<void()> on_death;      // at the first of those calls

    void lose_power();  // descriptors are gone, the machine starts anew
    void write_back_some();
    std::shared_ptr<SimFile> file(int fd) const;

    int open(const std::filesystem::path& path, bool create) override;
    int open_read_only(const std::filesystem::path& path) override { return open(path, false); }
    int open_folder(const std::filesystem::path& path) override;
    void close(int fd) override;
    std::int64_t size(int fd) override;
    int truncate(int fd, std::uint64_t length) override;
    std::int64_t read(int fd, std::uint8_t* data, std::size_t length,
                      std::uint64_t offset) override;
    int sync(int fd) override;
    int sync_folder(int fd) override;
    std::int64_t read_cached(int fd, const iovec* vectors, unsigned count, std::uint64_t offset,
                             bool memory_backed) override;
    std::int64_t write(int fd, const iovec* vectors, unsigned count, std::uint64_t offset) override;
    int allocate(int fd, std::uint64_t offset, std::uint64_t length) override;
    int punch(int fd, std::uint64_t offset, std::uint64_t length) override;
    std::int64_t taken_bytes(int fd, std::uint64_t offset, std::uint64_t length) override;
    bool memory_backed(int) override { return memory_backed_files; }
    std::uint8_t* map(int fd, std::uint64_t length) override;
    int prepare_mapped(std::uint8_t*, std::uint64_t) override { return 0; }
    void unmap(std::uint8_t*, std::uint64_t) override {}
    bool exists(const std::filesystem::path& path) override {
        return names_.contains(path.string());
    }
    int make_folder(const std::filesystem::path&) override { return 0; }
    int rename(const std::filesystem::path& from, const std::filesystem::path& to) override;
    int link(const std::filesystem::path& file, const std::filesystem::path& name) override;
    int remove(const std::filesystem::path& path) override;
    int list(const std::filesystem::path& folder, std::vector<std::string>& names) override;
    store::Space space(const std::filesystem::path&) override { return {1ull << 40, 1ull << 41}; }
    std::string boot_id() override { return "boot-" + std::to_string(boots_); }
    std::int64_t now_us() override { return now_us_ += faults.stall && percent(10) ? 50'000 : 1; }

    // The ring's way to a file: what an asynchronous operation does.
    std::int64_t perform(const reactor::IoOperation& operation);

  private:
    using Names = std::map<std::string, std::shared_ptr<SimFile>>;

    bool percent(unsigned chance) { return chance > 0 && random_() % 100 < chance; }
    bool dead();
    std::int64_t read_some(int fd, const iovec* vectors, unsigned count, std::uint64_t offset);

    Random& random_;
    Names names_;
    std::deque<Names> durable_names_{Names{}};       // the last durable one, then each since
    std::map<int, std::shared_ptr<SimFile>> files_;  // by descriptor; null: a folder
    std::map<int, std::filesystem::path> folders_;   // by descriptor
    int next_fd_ = 1'000'000;                        // none that the system could have given
    unsigned boots_ = 1;
    std::int64_t now_us_ = 0;
    void names_changed() { durable_names_.push_back(names_); }
};

class SimRing final : public reactor::IoRing {
  public:
    SimRing(SimStorage& storage, Random& random) : storage_(storage), random_(random) {}
    void submit(reactor::IoOperation& operation) noexcept override { queue_.push_back(&operation); }
    std::size_t in_flight() const override { return queue_.size(); }
    const char* kind() const override { return "simulation"; }

    void complete_one();  // any of them
    // The process is gone: what the kernel had may be done or not, nobody hears of it.
    void abandon_all();
    void abandon_done();  // all of it is done

  private:
    SimStorage& storage_;
    Random& random_;
    std::vector<reactor::IoOperation*> queue_;
};

}  // namespace goldlink::sim
