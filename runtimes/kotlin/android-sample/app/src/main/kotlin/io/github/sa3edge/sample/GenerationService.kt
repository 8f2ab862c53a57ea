package io.github.sa3edge.sample

import android.app.Notification
import android.app.NotificationChannel
import android.app.NotificationManager
import android.app.PendingIntent
import android.app.Service
import android.content.Intent
import android.content.pm.ServiceInfo
import android.os.Build
import android.os.IBinder
import io.github.sa3edge.GenerationEvent
import io.github.sa3edge.GenerationRequest
import io.github.sa3edge.ModelStore
import io.github.sa3edge.PipelineOptions
import io.github.sa3edge.PublishedBundle
import io.github.sa3edge.Sa3Exception
import io.github.sa3edge.Sa3Pipeline
import io.github.sa3edge.Stage
import io.github.sa3edge.writeWav
import java.io.File
import kotlinx.coroutines.CoroutineScope
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.Job
import kotlinx.coroutines.SupervisorJob
import kotlinx.coroutines.cancel
import kotlinx.coroutines.launch

/** Makes a clip in the foreground, plays it as it is decoded, and keeps it in the app's files. */
class GenerationService : Service() {
    private val scope = CoroutineScope(SupervisorJob() + Dispatchers.Default)
    private var work: Job? = null

    override fun onBind(intent: Intent?): IBinder? = null

    override fun onStartCommand(intent: Intent?, flags: Int, startId: Int): Int {
        if (intent?.action == CANCEL) {
            work?.cancel()
            return START_NOT_STICKY
        }
        show("Starting", 0, 0, foreground = true)
        val prompt = intent?.getStringExtra(PROMPT) ?: ""
        work?.cancel()
        work = scope.launch {
            try {
                generate(prompt)
            } catch (error: Sa3Exception) {
                show(error.message ?: "It did not work", 0, 0)
            } finally {
                stopForeground(STOP_FOREGROUND_DETACH)
                stopSelf(startId)
            }
        }
        return START_NOT_STICKY
    }

    private suspend fun generate(prompt: String) {
        val folder = ModelStore(File(filesDir, "models")).install(model)
        val options = PipelineOptions(remember = File(cacheDir, "verified.json"))
        Sa3Pipeline.open(folder, options).use { pipeline ->
            PiecePlayer(pipeline.bundle.manifest.audio.sampleRate).use { player ->
                pipeline.stream(GenerationRequest(prompt, seconds = 30.0)).collect { event ->
                    when (event) {
                        is GenerationEvent.Step -> if (event.stage == Stage.DENOISE) show(prompt, event.done, event.total)
                        is GenerationEvent.Piece -> player.write(event.audio)
                        is GenerationEvent.Done -> event.generation.let {
                            writeWav(File(filesDir, "clip-${it.seed}.wav"), it.audio, it.sampleRate)
                        }
                    }
                }
            }
        }
    }

    private fun show(text: String, done: Int, total: Int, foreground: Boolean = false) {
        val manager = getSystemService(NotificationManager::class.java)
        val builder = if (Build.VERSION.SDK_INT >= 26) {
            manager.createNotificationChannel(NotificationChannel(CHANNEL, "Generation", NotificationManager.IMPORTANCE_LOW))
            Notification.Builder(this, CHANNEL)
        } else {
            @Suppress("DEPRECATION")
            Notification.Builder(this)
        }
        val cancel = PendingIntent.getService(
            this, 0, Intent(this, GenerationService::class.java).setAction(CANCEL), PendingIntent.FLAG_IMMUTABLE,
        )
        val notification = builder.setSmallIcon(android.R.drawable.ic_media_play).setContentTitle(text).setOnlyAlertOnce(true)
            .setProgress(total, done, total == 0).addAction(Notification.Action.Builder(null, "Cancel", cancel).build()).build()
        when {
            !foreground -> manager.notify(NOTIFICATION, notification)
            Build.VERSION.SDK_INT >= 35 ->
                startForeground(NOTIFICATION, notification, ServiceInfo.FOREGROUND_SERVICE_TYPE_MEDIA_PROCESSING)
            Build.VERSION.SDK_INT >= 29 -> startForeground(NOTIFICATION, notification, ServiceInfo.FOREGROUND_SERVICE_TYPE_DATA_SYNC)
            else -> startForeground(NOTIFICATION, notification)
        }
    }

    /** The system's limit of hours is reached: end, or the app is stopped. */
    override fun onTimeout(startId: Int, fgsType: Int) {
        work?.cancel()
        stopSelf()
    }

    override fun onDestroy() {
        scope.cancel()
        super.onDestroy()
    }

    companion object {
        const val PROMPT = "prompt"
        const val CANCEL = "cancel"
        private const val CHANNEL = "generation"
        private const val NOTIFICATION = 1

        /** Your own bundle: the folder's address at a commit, and the SHA-256 of its manifest.json. */
        val model = PublishedBundle("model", "https://example.invalid/model/COMMIT/", "0".repeat(64), 1_300_000_000)
    }
}
