package io.github.sa3edge.sample

import android.media.AudioAttributes
import android.media.AudioFormat
import android.media.AudioTrack

/** Plays a clip's pieces one after another. Writing blocks while the track is full: call it off the main thread. */
class PiecePlayer(sampleRate: Int) : AutoCloseable {
    private val track = AudioTrack.Builder()
        .setAudioAttributes(
            AudioAttributes.Builder().setUsage(AudioAttributes.USAGE_MEDIA).setContentType(AudioAttributes.CONTENT_TYPE_MUSIC).build(),
        )
        .setAudioFormat(
            AudioFormat.Builder().setEncoding(AudioFormat.ENCODING_PCM_FLOAT).setSampleRate(sampleRate)
                .setChannelMask(AudioFormat.CHANNEL_OUT_STEREO).build(),
        )
        .setBufferSizeInBytes(sampleRate * Float.SIZE_BYTES * 2) // a second
        .setTransferMode(AudioTrack.MODE_STREAM)
        .build()

    /** [audio] is (2, samples), as pieces are. */
    fun write(audio: Array<FloatArray>) {
        if (track.playState != AudioTrack.PLAYSTATE_PLAYING) track.play()
        val interleaved = FloatArray(audio[0].size * 2) { audio[it % 2][it / 2] }
        var written = 0
        while (written < interleaved.size) {
            val count = track.write(interleaved, written, interleaved.size - written, AudioTrack.WRITE_BLOCKING)
            check(count >= 0) { "AudioTrack.write answers $count" }
            written += count
        }
    }

    /** What was written is still heard. */
    override fun close() {
        track.stop()
        track.release()
    }
}
