// The program that runs in the Linux guest of the tests: it writes memory all the time and checks
// that what it wrote is still there. Linked statically and put into the initrd by guest-image.ts.
//
//   writer MIB PAGES
//
// Keeps MIB mebibytes and, every 100 ms, writes PAGES of them in random order, each after a check,
// and checks a tenth of all in address order. A page holds its number and how often it was written;
// the second copy of that count is in a table elsewhere in memory, so a page that is one write old
// is found. Then it reports, in the form that guest-console.ts reads; a page found wrong is
// described on a line of its own.

#include <sys/mman.h>
#include <unistd.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>

namespace {

constexpr size_t kPageBytes = 4096;
constexpr size_t kWords = kPageBytes / sizeof(uint64_t);
constexpr uint64_t kWordStep = 0x9e3779b97f4a7c15;
constexpr useconds_t kTickMicroseconds = 100'000;
constexpr size_t kTicksPerSweep = 10;

class WorkingSet {
 public:
  explicit WorkingSet(size_t pages)
      : pages_(pages), memory_(Map(pages * kPageBytes)), counts_(Map(pages * sizeof(uint64_t))) {
    for (size_t page = 0; page < pages_; ++page) Write(page);
  }

  size_t pages() const { return pages_; }
  uint64_t bad() const { return bad_; }

  void Write(size_t page) {
    ++counts_[page];
    uint64_t* const words = memory_ + page * kWords;
    for (size_t i = 0; i < kWords; ++i) words[i] = Word(page, i);
  }

  void Check(size_t page) {
    const uint64_t* const words = memory_ + page * kWords;
    for (size_t i = 0; i < kWords; ++i) {
      if (words[i] == Word(page, i)) continue;
      ++bad_;
      std::printf("page %zu word %zu is %llx and not %llx\n", page, i, AsPrinted(words[i]),
                  AsPrinted(Word(page, i)));
      return;
    }
  }

 private:
  static unsigned long long AsPrinted(uint64_t value) { return value; }

  static uint64_t* Map(size_t bytes) {
    void* const memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE,
                              MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);
    if (memory == MAP_FAILED) {
      std::perror("writer: mmap");
      std::exit(1);
    }
    return static_cast<uint64_t*>(memory);
  }

  uint64_t Word(size_t page, size_t index) const {
    return ((uint64_t{page} << 32) | counts_[page]) ^ (index * kWordStep);
  }

  size_t pages_;
  uint64_t* memory_;
  uint64_t* counts_;
  uint64_t bad_ = 0;
};

uint64_t NextRandom(uint64_t& state) {
  state ^= state << 13;
  state ^= state >> 7;
  state ^= state << 17;
  return state;
}

[[noreturn]] void Run(WorkingSet& set, size_t pagesPerTick) {
  uint64_t random = 88172645463325252;
  uint64_t writes = 0;
  uint64_t checked = 0;
  for (uint64_t counter = 0;; ++counter) {
    std::printf("counter %llu writes %llu sweeps %llu bad %llu\n", 0ULL + counter, 0ULL + writes,
                0ULL + checked / set.pages(), 0ULL + set.bad());
    std::fflush(stdout);
    usleep(kTickMicroseconds);
    for (size_t i = 0; i < pagesPerTick; ++i, ++writes) {
      const size_t page = NextRandom(random) % set.pages();
      set.Check(page);
      set.Write(page);
    }
    for (size_t i = 0; i < set.pages() / kTicksPerSweep + 1; ++i, ++checked) {
      set.Check(checked % set.pages());
    }
  }
}

}  // namespace

int main(int argc, char** argv) {
  const size_t mebibytes = argc > 1 ? std::strtoul(argv[1], nullptr, 10) : 0;
  const size_t pagesPerTick = argc > 2 ? std::strtoul(argv[2], nullptr, 10) : 0;
  if (mebibytes == 0) {
    std::fputs("usage: writer MIB PAGES\n", stderr);
    return 2;
  }
  WorkingSet set(mebibytes * 1024 * 1024 / kPageBytes);
  Run(set, pagesPerTick);
}
