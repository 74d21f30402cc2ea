r"""The callbacks that write a run to TensorBoard. ``tensorboard --logdir lightning_logs`` shows it in these tabs.

- Time Series, Scalars: the curves below.
- Custom Scalars: training and validation loss in one chart, the metrics in another, the gradient norms in a third.
- Images, ``network/...``, with a slider over the epochs: the whole network (Fig. 6) with each neuron's output over the
  plane, the data and the losses, for two inputs and at most eight neurons a layer, otherwise the weights and the
  decision boundary; the saturation of the hidden neurons; the parameters (Fig. 7); after training, the path of the
  weights down the cost, with P1 and P2 (Fig. 8). ``the_article/...``: Figs. 1 and 3 to 5, in a run of their own.
- Graphs: Fig. 9, each node named by its formula; a click on one shows its gradient.
- Histograms, Distributions: the parameters, their gradients, and the hidden activations over time.
- Text: the command and its options, the parameters of each layer, and whether the hand-written gradients equalled
  autograd's on the training rows in the first and in the last epoch; in the article's run, its equations and what
  the curves are.
- PR Curves: precision against recall of the validation rows, for each class.
- HParams: the hyperparameters of each run with its last loss and metrics, also of the two best of a sweep.

In each curve, the horizontal axis counts finished epochs; 0 is the network before training. ``curves.CURVES`` says what
the curves are.

``--animate out.gif`` writes the network's picture as an animation, ``--export_pictures DIR`` all pictures as files.
``--pictures 0`` omits images, histograms and precision-recall curves, which saves a tenth of the time. The files:
``base`` has the common base class, ``curves`` all of ``training/`` but the learning rate,
and the trajectory, ``histograms`` also the precision-recall curves, ``images`` the figures, ``graph`` the computational
graph, and ``overview`` hyperparameters, charts and text.
"""
