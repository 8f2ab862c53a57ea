# A template: `make release` fills in version and hash; whoever publishes the sdist fills in @HOST@. Not run on a Mac yet.
class Sa3Edge < Formula
  desc "Text to stereo music with Stable Audio 3 small, on your own device"
  homepage "@HOST@"
  url "@HOST@/@SDIST@"
  version "@VERSION@"
  sha256 "@SHA256@"
  license "MIT"

  depends_on "python@3.13"

  # onnxruntime, soundfile and tokenizers come as wheels: none of them builds from source in a formula.
  def install
    system "python3.13", "-m", "venv", libexec
    system libexec/"bin/pip", "install", buildpath
    bin.install_symlink libexec/"bin/sa3-edge"
  end

  test do
    system bin/"sa3-edge", "generate", "lofi piano", "--model", "demo", "--seconds", "1", "-o", "lofi.wav"
    assert_path_exists testpath/"lofi.wav"
  end
end
