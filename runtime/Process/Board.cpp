//===- Board.cpp - where each rank of a host is, seen by all of it --------===//

#include "Board.h"

#include "Socket.h"

#include <cstdio>
#include <cstring>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

using namespace cleave::runtime;

Board::~Board() {
  if (start)
    munmap(start, length);
  closeFile();
}

void Board::closeFile() {
  if (file >= 0)
    close(file);
  file = -1;
}

bool Board::map(uint32_t size) {
  length = sizeof(Header) + uint64_t(size) * sizeof(Position);
  void *mapped = mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  if (mapped == MAP_FAILED)
    return false;
  start = mapped;
  header = static_cast<Header *>(mapped);
  positions = reinterpret_cast<Position *>(header + 1);
  return true;
}

void Board::useOwn(uint32_t size) {
  if (start)
    munmap(start, length);
  start = nullptr;
  ownHeader = std::make_unique<Header>();
  ownPositions = std::make_unique<Position[]>(size);
  header = ownHeader.get();
  positions = ownPositions.get();
}

BoardKey Board::create(uint32_t size) {
  BoardKey key = {};
  memcpy(key.secret, randomBytes(sizeof key.secret).data(), sizeof key.secret);
  file = memfd_create("cleave", MFD_CLOEXEC);
  length = sizeof(Header) + uint64_t(size) * sizeof(Position);
  // Zeros are what positions begin with.
  if (file < 0 || ftruncate(file, off_t(length)) || !map(size)) {
    useOwn(size);
    return key;
  }
  memcpy(header->secret, key.secret, sizeof key.secret);
  key.process = getpid();
  key.file = file;
  return key;
}

bool Board::join(uint32_t size, const BoardKey &key) {
  char path[64];
  snprintf(path, sizeof path, "/proc/%d/fd/%d", key.process, key.file);
  file = key.process ? open(path, O_RDWR | O_CLOEXEC) : -1;
  struct stat info;
  uint64_t wanted = sizeof(Header) + uint64_t(size) * sizeof(Position);
  bool joined = file >= 0 && !fstat(file, &info) && uint64_t(info.st_size) == wanted && map(size) &&
                !memcmp(header->secret, key.secret, sizeof key.secret);
  if (!joined)
    useOwn(size);
  closeFile();
  return joined;
}
