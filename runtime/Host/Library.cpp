//===- Library.cpp - parts of Cleave that are loaded when wanted ----------===//

#include "Library.h"

#include <cstdlib>
#include <dlfcn.h>
#include <unistd.h>
#include <vector>

static std::string folderOfProgram() {
  char path[4096];
  ssize_t length = readlink("/proc/self/exe", path, sizeof path);
  std::string whole(path, size_t(length > 0 ? length : 0));
  return whole.substr(0, whole.rfind('/'));
}

static std::vector<std::string> placesOf(const std::string &name) {
  if (const char *folder = getenv("CLEAVE_PLUGINS"))
    return {std::string(folder) + "/" + name};
  std::string own = folderOfProgram();
  return {own + "/" + name, own + "/../lib/" + name, name};
}

void *cleave::runtime::openPlugin(const std::string &name, int flags, std::string &problem) {
  for (const std::string &place : placesOf(name)) {
    if (void *library = dlopen(place.c_str(), flags))
      return library;
    // What is wrong with one that is there says more than where none is.
    if (problem.empty() || !access(place.c_str(), R_OK))
      problem = dlerror();
  }
  return nullptr;
}
